"""From stored instances to one volume: headers, choice of series, regular grid, decoded pixels."""
