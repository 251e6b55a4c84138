package engine

// Decide is decide without earlier failures.
func Decide(v View, choices Choices) ([]Decision, Desired) { return decide(v, choices, nil) }
