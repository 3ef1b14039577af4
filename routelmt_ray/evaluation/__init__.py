"""Which router spends a budget best: measures over scores and true gains, and what is made of them."""
