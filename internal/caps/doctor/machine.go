package doctor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/nft-offload/nft-offload/internal/caps"
	"github.com/nft-offload/nft-offload/internal/reason"
)

// The kernel floor of the fast path, and the nft(8) whose JSON is known to be whole.
const (
	floorMajor, floorMinor = 6, 1
	floorNFT               = "1.0.6"
)

// finding makes one out of a reason's own words.
func finding(l Level, r reason.Reason) Finding {
	i := r.Info()
	return Finding{Level: l, Reason: r, Text: i.Text, Next: i.Remedy}
}

// machineFindings are about the kernel, the tools and the namespace.
func machineFindings(in Input) []Finding {
	m := in.Machine
	var out []Finding
	add := func(is bool, l Level, r reason.Reason) {
		if is {
			out = append(out, finding(l, r))
		}
	}
	lacks := func(o caps.Option) bool { return m.Kernel.Has(o) == caps.No }
	for _, r := range floor(m.Kernel) {
		add(true, Problem, r)
	}
	add(!lacks(caps.OptBPF) && lacks(caps.OptBPFJIT), Warning, reason.NoBPF)
	add(lacks(caps.OptNFTables), Problem, reason.NoNFTables)
	add(m.NFT == "", Problem, reason.NoNFT)
	add(m.NFT != "" && older(m.NFT, floorNFT), Warning, reason.NFTTooOld)
	add(lacks(caps.OptConntrack), Problem, reason.NoConntrack)
	add(lacks(caps.OptFlowtable), Note, reason.NoFlowtable)
	add(lacks(caps.OptFlowtable) && lacks(caps.OptCTLabels), Warning, reason.NoConntrackLabels)
	add(in.hardware() && lacks(caps.OptClsFlower), Warning, reason.NoClsFlower)
	add(in.hardware() && m.TC == "", Warning, reason.NoTC)
	add(m.BPFFS == caps.No, Note, reason.NoBPFFS)
	add(m.Forwarding == caps.No, Warning, reason.ForwardingOff)
	add(m.Accounting == caps.No && !lacks(caps.OptFlowtable), Note, reason.AcctOff)
	return append(out, in.quirks()...)
}

// floor is what keeps the fast path from a kernel altogether.
func floor(k caps.Kernel) []reason.Reason {
	var out []reason.Reason
	if k.Version.Known() && !k.Version.AtLeast(floorMajor, floorMinor) {
		out = append(out, reason.KernelTooOld)
	}
	if k.Has(caps.OptBTF) == caps.No {
		out = append(out, reason.NoBTF)
	}
	if k.Has(caps.OptBPF) == caps.No {
		out = append(out, reason.NoBPF)
	}
	return out
}

// quirks are the kernel bugs that can matter here: those of hardware only where a device has some.
func (in Input) quirks() []Finding {
	var out []Finding
	var doubtful []string
	for _, q := range caps.QuirksOf(in.Machine.Kernel.Version) {
		if !in.matters(q.Scope) {
			continue
		}
		if q.Answer == caps.Unknown {
			doubtful = append(doubtful, q.ID)
			continue
		}
		f := Finding{Level: Warning, Reason: reason.KernelQuirk, Text: q.ID + ": " + q.Title}
		var next []string
		if fixed := q.FixedFor(in.Machine.Kernel.Version); fixed != "" {
			next = append(next, "fixed in "+fixed)
		}
		if q.Remedy != "" {
			next = append(next, q.Remedy)
		}
		f.Next = strings.Join(next, "; else ")
		out = append(out, f)
	}
	if len(doubtful) > 0 {
		out = append(out, Finding{
			Level: Note, Reason: reason.KernelQuirk,
			Text: fmt.Sprintf("it is not known whether Linux %s has these bugs: %s", in.Machine.Kernel.Version, strings.Join(doubtful, ", ")),
			Next: "see what your distribution says of them",
		})
	}
	return out
}

// matters says whether a bug of this scope can be met on the machine.
func (in Input) matters(s caps.Scope) bool {
	flowtable := in.Machine.Kernel.Has(caps.OptFlowtable) != caps.No
	switch s {
	case caps.ScopeChainOffload:
		return in.any(func(p caps.Profile) bool { return p.Chain == caps.SupportYes || p.Chain == caps.SupportPartly })
	case caps.ScopeFlowtableOffload:
		return flowtable && in.any(func(p caps.Profile) bool { return p.Flowtable == caps.Yes })
	case caps.ScopeFlowtablePPPoE:
		return flowtable && in.kind("ppp")
	case caps.ScopeFlowtableStacked:
		return flowtable && in.kind("ppp", "bridge", "vlan")
	case caps.ScopeFlowtable, caps.ScopeFlowtableNAT:
	}
	return flowtable
}

// hardware reports whether any device has hardware that takes rules or flows.
func (in Input) hardware() bool {
	return in.matters(caps.ScopeChainOffload) || in.matters(caps.ScopeFlowtableOffload)
}

func (in Input) any(is func(caps.Profile) bool) bool {
	for _, d := range in.Machine.Devices {
		if p, ok := in.profile(d); ok && is(p) {
			return true
		}
	}
	return false
}

func (in Input) kind(kinds ...string) bool {
	for _, d := range in.Machine.Devices {
		if slices.Contains(kinds, d.Kind) {
			return true
		}
	}
	return false
}

// older compares versions of tools, "1.0.6" and "1.1.0"; one that is none of these is not older.
func older(a, b string) bool {
	v, errA := caps.ParseVersion(a)
	w, errB := caps.ParseVersion(b)
	return errA == nil && errB == nil && v.Compare(w) < 0
}
