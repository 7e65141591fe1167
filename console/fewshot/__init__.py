"""The few-shot workflow over HTTP and as forms that other programs read."""
