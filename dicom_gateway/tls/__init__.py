"""TLS for associations (PS3.15 B.12), on both sides: certificates, handshakes, and a trial's own authority."""
