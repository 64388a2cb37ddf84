"""What is measured: one module for each scenario, with its CASES, its ROWS and a `measure()`."""
