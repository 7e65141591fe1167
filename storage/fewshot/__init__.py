"""Everything durable of the few-shot room: tasks, labelled items, adapters, their evaluations and promotions."""
