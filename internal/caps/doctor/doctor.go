// Package doctor says what a machine lacks for offloading and what each tier would do on each of its devices: hardware
// rules, hardware flows, XDP, tc, the kernel's flowtable, the slow path. It judges values (package caps) and what was
// decided about each device elsewhere; it asks no kernel.
package doctor

import (
	"cmp"
	"slices"

	"github.com/nft-offload/nft-offload/internal/caps"
	"github.com/nft-offload/nft-offload/internal/reason"
)

// Input is what is known.
type Input struct {
	Machine caps.Machine
	// Fast is what `run` would do on each device, by name. Devices that are missing are not known.
	Fast map[string]Fast
	// Probes are what drivers answered when asked.
	Probes []Probe
	// Only are the devices to report on; empty: all but loopback.
	Only []string

	profiles map[string]caps.Profile // by device; those without one are missing
}

// profile is what caps.ProfileOf says of a device.
func (in Input) profile(d caps.Device) (caps.Profile, bool) {
	p, ok := in.profiles[d.Name]
	return p, ok
}

// Fast is what the flow fast path would do with packets of a device if a flowtable listed it.
type Fast struct {
	Hook   string   // "xdp", "tc" or "off"
	On     []string // the devices where packets are looked up, "eth0 (xdp)"; empty: itself
	Code   string   // why off, or why not XDP
	Text   string
	Advice string
	// Target is why frames that XDP looked up on other devices do not leave by this one as XDP redirects; empty: they do.
	Target string
}

// Probe is one question to a driver, and its answer.
type Probe struct {
	Device  string      `json:"device"`
	What    string      `json:"what"`            // ProbeRule or ProbeFlowtable
	Taken   caps.Answer `json:"taken"`           // Unknown: it could not be asked
	Words   string      `json:"words,omitempty"` // the driver's or the kernel's own
	Command string      `json:"command"`         // what was asked
	Left    string      `json:"left,omitempty"`  // what could not be removed afterwards
}

// What drivers are asked.
const (
	ProbeRule      = "flower skip_sw"
	ProbeFlowtable = "flowtable flags offload"
)

// Health is the whole in a word.
type Health string

// The healths.
const (
	Healthy  Health = "healthy"  // nothing to do
	Degraded Health = "degraded" // flows can be carried, and something is in the way of more
	Unable   Health = "unable"   // this machine cannot carry flows as it is
)

// Level says what a finding does to the health.
type Level string

// The levels, the gravest first.
const (
	Problem Level = "problem" // makes it Unable
	Warning Level = "warning" // makes it Degraded
	Note    Level = "note"    // good to know
)

// Finding is one thing about the machine or a device.
type Finding struct {
	Level  Level         `json:"level"`
	Reason reason.Reason `json:"reason"`
	Device string        `json:"device,omitempty"`
	Text   string        `json:"text"`
	Next   string        `json:"next,omitempty"` // the command to run, or what to do
}

// Report is the diagnosis. Its machine is what `plan --caps` takes.
type Report struct {
	Health   Health       `json:"health"`
	Machine  caps.Machine `json:"machine"`
	Findings []Finding    `json:"findings"` // of the machine first, then device by device, the gravest of each first
	Devices  []Device     `json:"devices"`
	Probes   []Probe      `json:"probes,omitempty"`
}

// Device is what each tier would do on one device.
type Device struct {
	Name    string `json:"name"`
	Profile string `json:"profile,omitempty"`
	Tiers   []Tier `json:"tiers"`
}

// Tier is what one tier would do.
type Tier struct {
	Name TierName     `json:"tier"`
	Can  caps.Support `json:"can"` // never empty: "unknown" is said
	Code string       `json:"code,omitempty"`
	Why  string       `json:"why,omitempty"`
	Next string       `json:"next,omitempty"`
}

// TierName names a tier.
type TierName string

// The tiers, the fastest first.
const (
	HardwareRules   TierName = "hardware rules"
	HardwareFlows   TierName = "hardware flows"
	XDP             TierName = "xdp"
	TC              TierName = "tc"
	KernelFlowtable TierName = "kernel flowtable"
	SlowPath        TierName = "slow path"
)

const unknown caps.Support = "unknown"

// Diagnose judges what is known. It is a pure function: findings come in a fixed order.
func Diagnose(in Input) Report {
	in.profiles = make(map[string]caps.Profile, len(in.Machine.Devices))
	for _, d := range in.Machine.Devices {
		if p, ok := caps.ProfileOf(d); ok {
			in.profiles[d.Name] = p
		}
	}
	r := Report{Machine: in.Machine, Probes: in.Probes, Findings: gravest(machineFindings(in)), Devices: []Device{}}
	for _, d := range in.Machine.Devices {
		if !in.shown(d) {
			continue
		}
		r.Findings = append(r.Findings, gravest(deviceFindings(in, d))...)
		r.Devices = append(r.Devices, in.tiers(d))
	}
	r.Health = health(r.Findings)
	return r
}

// shown says whether a device is reported on.
func (in Input) shown(d caps.Device) bool {
	if len(in.Only) > 0 {
		return slices.Contains(in.Only, d.Name)
	}
	return d.Type != "loopback"
}

// gravest puts the gravest first. Those of one level keep their order.
func gravest(fs []Finding) []Finding {
	slices.SortStableFunc(fs, func(a, b Finding) int { return cmp.Compare(rank(a.Level), rank(b.Level)) })
	return fs
}

func health(fs []Finding) Health {
	if len(fs) == 0 {
		return Healthy
	}
	worst := slices.MinFunc(fs, func(a, b Finding) int { return cmp.Compare(rank(a.Level), rank(b.Level)) })
	switch worst.Level {
	case Problem:
		return Unable
	case Warning:
		return Degraded
	case Note:
	}
	return Healthy
}

func rank(l Level) int { return slices.Index([]Level{Problem, Warning, Note}, l) }

// Count returns the number of findings of a level.
func (r Report) Count(l Level) int {
	n := 0
	for _, f := range r.Findings {
		if f.Level == l {
			n++
		}
	}
	return n
}
