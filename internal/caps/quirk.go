package caps

// Quirk is a kernel bug that matters to offloading, and which kernels have it.
type Quirk struct {
	ID    string // "CVE-2026-74579", or a name of ours
	Title string // what goes wrong
	// Since is the first version with the bug; the zero Version: not recorded.
	Since Version
	// Fixed holds the first version without it on each stable line, and the first mainline version; empty: not recorded.
	Fixed  []Version
	Remedy string
	Source string
}
