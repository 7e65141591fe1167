"""How jobs reach a worker: Celery over Redis, the relay, and the processes that carry the work."""
