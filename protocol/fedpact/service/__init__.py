"""What coordinator and silo have in common as processes that run for weeks: the loop, one instance for each key, logs,
figures. What they decide and do is theirs."""
