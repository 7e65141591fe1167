"""The few-shot workflow between records and models: embed items, fit, evaluate, and serve what was promoted."""
