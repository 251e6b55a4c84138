package engine_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/engine/enginetest"
	"github.com/nft-offload/nft-offload/internal/handover"
)

// randomLinks makes devices of which each may stand on earlier ones.
func randomLinks(r *rand.Rand) []engine.Link {
	kinds := []string{"", "", "veth", "vlan", "vlan", "bridge", "vrf", "bond", "macvlan", "ppp", "ipvlan"}
	var out []engine.Link
	for i := range 3 + r.IntN(9) {
		l := engine.Link{Ifindex: uint32(2 + i), Name: fmt.Sprintf("d%d", i), Kind: kinds[r.IntN(len(kinds))], Ethernet: true}
		switch l.Kind {
		case "":
			ifindex, name := l.Ifindex, l.Name
			l = enginetest.NIC(name)
			l.Ifindex = ifindex
		case "ppp":
			l.Ethernet, l.PointToPoint = false, true
		case "vlan", "macvlan", "ipvlan":
			if i == 0 {
				l.Kind = "veth"
				break
			}
			l.Lower = out[r.IntN(i)].Name
			l.VLAN, l.VLANProtocol = uint16(i), "802.1Q"
		case "bridge", "vrf", "bond":
			for j := range out {
				if out[j].Master == "" && r.IntN(3) == 0 {
					out[j].Master, out[j].MasterKind = l.Name, l.Kind
				}
			}
		}
		if r.IntN(8) == 0 {
			l.Filters = []string{"tcx ingress program theirs"}
		}
		out = append(out, l)
	}
	return out
}

// climb calls f with every way up from a device: itself, then with each that only passes packets on.
func climb(links []engine.Link, way []engine.Link, f func(way []engine.Link)) {
	f(way)
	top := way[len(way)-1]
	for _, u := range links {
		switch u.Kind {
		case "vlan", "bridge", "vrf":
			if u.Lower == top.Name || top.Master == u.Name {
				climb(links, append(slices.Clone(way), u), f)
			}
		}
	}
}

// Packets of a flow come in on an attached device and go up some way. Whichever it is: where the datapath would learn,
// nothing is on the way, and somebody listed a device of it.
func TestWhateverStandsOnWhatNothingIsBypassed(t *testing.T) {
	learned, refused := 0, 0
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 0))
		links := randomLinks(r)
		var devices []string
		for _, l := range links {
			if r.IntN(3) == 0 {
				devices = append(devices, l.Name)
			}
		}
		v := engine.View{Ruleset: handover.Ruleset{Flowtables: []handover.Flowtable{{Name: "f", Devices: devices, Lowered: true, Labels: handover.Label(127)}}}, Links: links}
		ds, want := engine.Decide(v, nil)
		ds2, want2 := engine.Decide(v, nil)
		if !reflect.DeepEqual(ds, ds2) || !reflect.DeepEqual(want, want2) {
			t.Fatalf("seed %d: decided in two ways", seed)
		}
		byName := map[string]engine.Device{}
		for _, d := range want.Devices {
			byName[d.Name] = d
		}
		for _, l := range links {
			low, attached := byName[l.Name]
			if !attached || low.Above {
				continue
			}
			climb(links, []engine.Link{l}, func(way []engine.Link) {
				top, there := byName[way[len(way)-1].Name]
				if !there || low.Refused || top.Refused || len(way) == 1 && low.Under {
					refused++
					return
				}
				learned++
				if top.Stack != low.Stack {
					t.Errorf("seed %d: %s and %s are not of one stack", seed, low.Name, top.Name)
				}
				listed, tags := false, 0
				for _, w := range way {
					listed = listed || slices.Contains(devices, w.Name) && w.Kind != "vrf"
					if len(w.Filters) > 0 {
						t.Errorf("seed %d: packets on %v would not pass the filter on %s", seed, names(way), w.Name)
					}
					if w.Kind == "vlan" {
						tags++
					}
				}
				if !listed && tags <= 2 {
					t.Errorf("seed %d: nobody listed any of %v", seed, names(way))
				}
			})
		}
		for _, d := range ds {
			for _, p := range d.On {
				if on := byName[p.Name]; p.Hook != engine.Off && (on.Refused || on.Above || on.Hook != p.Hook) {
					t.Errorf("seed %d: %s is said to run on %+v, which is %+v", seed, d.Name, p, on)
				}
			}
		}
	}
	if learned < 1000 || refused < 1000 {
		t.Errorf("%d ways that learn and %d that do not: too few to say something", learned, refused)
	}
}

func names(way []engine.Link) []string {
	var out []string
	for _, l := range way {
		out = append(out, l.Name)
	}
	return out
}
