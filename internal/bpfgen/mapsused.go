package bpfgen

// maxMaps is how many maps a chunk may use besides those of every program. The kernel takes 64 (MAX_USED_MAPS of
// include/linux/bpf_verifier.h).
const maxMaps = 56

// mapsUsed are the maps that some units look into.
type mapsUsed map[string]bool

// fits reports whether another unit's maps may be used as well.
func (m mapsUsed) fits(u unit) bool {
	n, seen := len(m), map[string]bool{}
	for _, in := range u.ins {
		if name := in.Reference(); in.IsLoadFromMap() && name != "" && !m[name] && !seen[name] {
			seen[name] = true
			n++
		}
	}
	return n <= maxMaps
}

func (m mapsUsed) add(u unit) {
	for _, in := range u.ins {
		if name := in.Reference(); in.IsLoadFromMap() && name != "" {
			m[name] = true
		}
	}
}
