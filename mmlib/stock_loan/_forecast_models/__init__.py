"""The models behind `forecasting`: each a function of the values known so far, the dates and a horizon."""
