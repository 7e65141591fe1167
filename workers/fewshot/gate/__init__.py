"""The gate before a promotion: checks on evaluation patients, each with a verdict, a figure and its bound."""
