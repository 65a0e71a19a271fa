"""The coordinator: opens rounds, makes models of updates, publishes them. `decide` says what, `coordinator` does it,
`service` is the process. Nothing is imported here, so that its commands answer at once."""
