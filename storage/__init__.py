"""Everything durable: records, objects, the audit chain, and the domain types every package speaks."""
