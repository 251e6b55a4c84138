//go:build !guest

package soak

// guestRows are those that only a guest may run: see rows_guest_test.go.
func guestRows() []row { return nil }
