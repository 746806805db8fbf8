"""The search for leaks on data with planted ones, beside plain searches; and what it costs."""
