package bench

import "fmt"

// Row is one path at one number of flows of one family.
type Row struct {
	Path        string  `json:"path"`
	Family      string  `json:"family"` // "ip" or "ip6"
	Flows       int     `json:"flows"`
	NsPerPacket float64 `json:"ns_per_packet"` // median of the rounds; sender and sink included
	Mpps        float64 `json:"mpps"`          // million packets a second on the one core
	Spread      float64 `json:"spread"`        // distance between the quartiles of the rounds, as a share of the median
	Rounds      int     `json:"rounds"`
	// FastShare is the share of the frames that the datapath carried, by its own counters; 0 on paths without it.
	FastShare float64 `json:"fast_share"`
	// LostShare is the share of the frames that never reached the sink.
	LostShare float64 `json:"lost_share"`
	// Failed says why the row does not show what its path's name says; "" if it does.
	Failed string `json:"failed,omitempty"`
	// Reasons is why packets were not fast, by the datapath's counters, packets of all rounds.
	Reasons map[string]uint64 `json:"reasons,omitempty"`
}

// Family names as rows have them.
const (
	familyIP  = "ip"
	familyIP6 = "ip6"
)

func family(six bool) string {
	if six {
		return familyIP6
	}
	return familyIP
}

// addresses6 is what the four addresses of an IPv6 entry, two in the key and two in the value, take more than those of
// an IPv4 one, in bytes.
const addresses6 = 4 * (16 - 4)

// bytes records the memory of an entry, given that of an IPv4 one.
func (r *Report) bytes(six bool, of4 int) {
	if r.BytesPerFlow == nil {
		r.BytesPerFlow = map[string]int{}
	}
	if six {
		of4 += addresses6
	}
	r.BytesPerFlow[family(six)] = of4
}

// minFast is the share of packets that must have been fast for a row to count as its path's.
const minFast = 0.9

func row(p *path, six bool, n int, samples []sample) Row {
	w := Row{Path: p.name, Family: family(six), Flows: n, Rounds: len(samples)}
	var ns []float64
	var sent, received, fast uint64
	reasons := map[string]uint64{}
	for _, s := range samples {
		ns = append(ns, s.ns())
		sent += uint64(s.sent)
		received += uint64(s.received)
		fast += s.totals.fast
		for code, n := range s.totals.reasons {
			reasons[code] += n
		}
	}
	w.NsPerPacket = median(ns)
	w.Mpps = 1000 / w.NsPerPacket
	w.Spread = spread(ns)
	w.LostShare = 1 - float64(received)/float64(max(sent, 1))
	if p.totals == nil {
		return w
	}
	w.FastShare = float64(fast) / float64(max(sent, 1))
	w.Reasons = reasons
	if w.FastShare < minFast {
		w.Failed = fmt.Sprintf("only %.1f %% of the packets were fast", 100*w.FastShare)
	}
	return w
}
