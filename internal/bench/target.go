package bench

// Target is a figure that the project promises, and what was measured.
type Target struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Limit float64 `json:"limit"`
	// AtMost says that the limit is an upper one.
	AtMost bool `json:"at_most"`
	OK     bool `json:"ok"`
	// Own is the value without the sender's cost, where the value is a ratio of times that have it; it is not judged.
	Own float64 `json:"own,omitempty"`
}

// targets compares what was measured with what the project promises; figures that were not measured are left out.
func (r Report) targets() []Target {
	var out []Target
	ratio := func(name, above, below string, flows int, limit float64, atMost bool) {
		for _, family := range []string{familyIP, familyIP6} {
			a, okA := r.find(above, family, flows)
			b, okB := r.find(below, family, flows)
			if okA && okB {
				out = append(out, target(name+", "+family, a.NsPerPacket/b.NsPerPacket, limit, atMost))
			}
		}
	}
	ratio("slow/xdp at 1 flow", PathSlow, PathXDP, 1, 6, false)
	ratio("slow/xdp at 16384 flows", PathSlow, PathXDP, 1<<14, 5, false)
	ratio("xdp/raw redirect at 1 flow", PathXDP, PathRaw, 1, 1.5, true)
	ratio("slow/tc at 1 flow", PathSlow, PathTC, 1, 1.9, false)
	for _, c := range r.Connections {
		out = append(out, target("new "+c.Proto+" connections, "+c.Hook, c.Ratio, 0.95, false))
	}
	return out
}

func target(name string, value, limit float64, atMost bool) Target {
	ok := value >= limit
	if atMost {
		ok = value <= limit
	}
	return Target{Name: name, Value: value, Limit: limit, AtMost: atMost, OK: ok}
}
