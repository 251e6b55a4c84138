//go:build guest

package soak

// guestRows are those that only a guest may run.
func guestRows() []row { return []row{clockSet()} }
