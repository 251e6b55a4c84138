package vm

// Kernel is one row of the matrix of kernels that tests run under: what the newest kernel of a Debian suite is called.
type Kernel struct {
	Name  string // major.minor, as the version of the suite's kernel must begin
	Suite string // the Debian suite whose linux-image-amd64 depends on it
}

// Kernels returns the matrix, oldest first: the oldest kernel we support (Debian 12's own) and Debian 12's newest.
func Kernels() []Kernel {
	return []Kernel{
		{Name: "6.1", Suite: "bookworm"},
		{Name: "6.12", Suite: "bookworm-backports"},
	}
}

func (k Kernel) String() string { return k.Name }
