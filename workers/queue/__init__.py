"""How a job reaches a worker: Celery application, relay, supervised child, its task, and a Redis of our own."""
