package engine

import (
	"sync"
	"time"
)

// Status is a snapshot of everything a person or a program may ask about.
type Status struct {
	Identity
	Since       time.Time   `json:"since"`
	Settings    Settings    `json:"settings"`
	Flowtables  []Flowtable `json:"flowtables"`
	Devices     []Decision  `json:"devices"`
	Rules       RulesStatus `json:"rules"`
	Stats       Stats       `json:"stats"`
	Generations Generations `json:"generations"`
	Sweep       SweepInfo   `json:"sweep"`
	Problems    []Problem   `json:"problems"` // the last ones, oldest first
}

// Identity says which daemon this is.
type Identity struct {
	PID       int    `json:"pid"`
	Version   string `json:"version"`
	Namespace uint64 `json:"netns"`   // inode of the network namespace
	Adopted   bool   `json:"adopted"` // the datapath of an earlier daemon was taken over
}

// Settings are what the datapath runs with.
type Settings struct {
	Lease      Seconds `json:"lease_seconds"`
	MinPackets uint32  `json:"min_packets"`
	Keep       bool    `json:"keep"`
}

// Flowtable is one flowtable of the ruleset, real or lowered.
type Flowtable struct {
	Family  string   `json:"family"`
	Table   string   `json:"table"`
	Name    string   `json:"name"`
	Lowered bool     `json:"lowered"`
	Labels  []int    `json:"labels,omitempty"` // conntrack label bits that stand for it
	Mark    uint32   `json:"mark,omitempty"`
	Devices []string `json:"devices"`
}

// Counter is packets and layer 3 bytes.
type Counter struct {
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
}

// Stats are the datapath's counters since it was loaded.
type Stats struct {
	Fast         map[Hook]Counter `json:"fast"`
	Slow         Counter          `json:"slow"`
	Reasons      []Count          `json:"reasons"`
	Flows        int              `json:"flows"` // directions of flows in the table
	Ready        int              `json:"ready"`
	MaxFlows     int              `json:"max_flows"` // per family
	BytesPerFlow int              `json:"bytes_per_flow"`
}

// Count is how often a reason applied.
type Count struct {
	Code   string `json:"code"`
	Stage  string `json:"stage"` // "packet", "table" or "observe"
	Text   string `json:"text"`
	Advice string `json:"advice,omitempty"`
	Counter
}

// FastPackets is what both hooks carried.
func (s Stats) FastPackets() Counter {
	var sum Counter
	for _, c := range s.Fast {
		sum.Packets += c.Packets
		sum.Bytes += c.Bytes
	}
	return sum
}

// HitRate is the share of packets that were carried, of all that arrived on the devices: 0 to 1.
func (s Stats) HitRate() float64 {
	fast := s.FastPackets().Packets
	if fast+s.Slow.Packets == 0 {
		return 0
	}
	return float64(fast) / float64(fast+s.Slow.Packets)
}

// SweepInfo says what the last sweep did.
type SweepInfo struct {
	Entries int     `json:"entries"`
	Deleted int     `json:"deleted"`
	Took    Seconds `json:"took_seconds"`
}

// Problem is something that went wrong and did not stop the daemon.
type Problem struct {
	Time time.Time `json:"time"`
	Text string    `json:"text"`
	// Times counts how often it happened in a row.
	Times int `json:"times"`
}

// problemsKept bounds the list.
const problemsKept = 16

// problems collects them from all goroutines.
type problems struct {
	mu   sync.Mutex
	list []Problem
}

// add remembers a problem and reports whether it is another one than the last.
func (p *problems) add(text string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.list); n > 0 && p.list[n-1].Text == text {
		p.list[n-1].Times++
		p.list[n-1].Time = time.Now()
		return false
	}
	p.list = append(p.list, Problem{Time: time.Now(), Text: text, Times: 1})
	if len(p.list) > problemsKept {
		p.list = append(p.list[:0], p.list[1:]...)
	}
	return true
}

func (p *problems) snapshot() []Problem {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Problem{}, p.list...)
}

// RulesStatus is what runs early of the ingress chains.
type RulesStatus struct {
	On bool `json:"on"` // else `run --rules off`
	// Executing says that programs execute rules now; else they leave all to nftables, since Since. Why is the last change.
	Executing bool          `json:"executing"`
	Since     time.Time     `json:"since,omitzero"`
	Why       string        `json:"why,omitempty"`
	Devices   []RuledDevice `json:"devices"`
}

// RuleCount is what a rule has counted of packets that never came to nftables.
type RuleCount struct {
	RuleID
	Counter
}
