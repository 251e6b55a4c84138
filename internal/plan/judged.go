package plan

// share is what runs early on some devices: the entries of their ingress chains in the order of execution.
type share struct {
	devices []string
	on      ability
	entries []*entry
}
