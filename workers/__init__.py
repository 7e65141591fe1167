"""Everything computed: queue, pipeline, models, training, evaluation."""
