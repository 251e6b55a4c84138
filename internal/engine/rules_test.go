package engine_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/engine/enginetest"
	"github.com/nft-offload/nft-offload/internal/handover"
	"github.com/nft-offload/nft-offload/internal/reason"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// Rules of an ingress chain, as JSON statements.
const (
	dropPort  = `{"match": {"op": "==", "left": {"payload": {"protocol": "udp", "field": "dport"}}, "right": %d}}, {"drop": null}`
	dropSet   = `{"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": "@blocked"}}, {"drop": null}`
	dropOther = `{"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "daddr"}}, "right": "@other"}}, {"drop": null}`
	countPort = `{"match": {"op": "==", "left": {"payload": {"protocol": "udp", "field": "dport"}}, "right": 7}}, {"counter": {"packets": 0, "bytes": 0}}`
)

// setRules gives the machine a netdev chain on r0 with these rules; flowtable devices are listed besides.
func (r *rig) setRules(t *testing.T, listed []string, rules ...string) {
	t.Helper()
	objects := []string{
		`{"metainfo": {"json_schema_version": 1}}`,
		`{"table": {"family": "netdev", "name": "t", "handle": 3}}`,
		`{"set": {"family": "netdev", "table": "t", "name": "blocked", "handle": 4, "type": "ipv4_addr"}}`,
		`{"set": {"family": "netdev", "table": "t", "name": "other", "handle": 5, "type": "ipv4_addr"}}`,
		`{"chain": {"family": "netdev", "table": "t", "name": "c", "handle": 1, "dev": "r0", "type": "filter", "hook": "ingress", "prio": 0, "policy": "accept"}}`,
	}
	for i, s := range rules {
		objects = append(objects, fmt.Sprintf(`{"rule": {"family": "netdev", "table": "t", "chain": "c", "handle": %d, "expr": [%s]}}`, 10+i, s))
	}
	doc := []byte(`{"nftables": [` + strings.Join(objects, ",") + `]}`)
	if !json.Valid(doc) {
		t.Fatalf("not JSON: %s", doc)
	}
	rs, err := ruleset.Decode(doc)
	if err != nil {
		t.Fatal(err)
	}
	h, err := handover.Decode(doc)
	if err != nil {
		t.Fatal(err)
	}
	if listed != nil {
		h.Flowtables = flowtable(listed...).Flowtables
	}
	r.machine.SetRules(h)
	r.machine.SetChains(rs)
}

func drop(n int) string { return fmt.Sprintf(dropPort, n) }

func (r *rig) wantExecuting(t *testing.T, want bool, when string) {
	t.Helper()
	if got := r.rules.Executing(); got != want {
		t.Errorf("%s: rules are executed: %v", when, got)
	}
}

func (r *rig) ruled(t *testing.T) engine.RuledDevice {
	t.Helper()
	s, err := r.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Rules.Devices) != 1 {
		t.Fatalf("%d devices have rules", len(s.Rules.Devices))
	}
	return s.Rules.Devices[0]
}

func TestRulesAreSuspendedFromTheirChangeUntilItIsLoaded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.machine.AddLink(enginetest.Veth("r0"))
		r.setRules(t, nil, drop(1), drop(2))
		r.run(t)
		wantDevices(t, r, "2 r0 alone, 2 rules at tc")
		r.wantExecuting(t, true, "after the start")

		settle()
		r.machine.FailReads(errors.New("nft is busy"))
		r.setRules(t, nil, drop(1))
		synctest.Wait()
		r.wantExecuting(t, false, "changed")
		time.Sleep(time.Minute)
		r.wantExecuting(t, false, "a minute later, still not read")
		wantDevices(t, r, "2 r0 alone, 2 rules at tc")

		r.machine.FailReads(nil)
		time.Sleep(3 * time.Second)
		synctest.Wait()
		wantDevices(t, r, "2 r0 alone, 1 rules at tc")
		r.wantExecuting(t, true, "read again")
	})
}

func TestRulesThatChangeDuringTheFirstLoadAreNotExecuted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.machine.AddLink(enginetest.Veth("r0"))
		r.setRules(t, nil, drop(1))
		r.datapath.WhenApplied(func() {
			r.machine.FailReads(errors.New("nft is busy"))
			r.machine.Announce(engine.Change{What: "ruleset", Reread: true, Rules: true})
			time.Sleep(time.Second)
		})
		r.run(t)
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := r.rules.Renewals(); n != 0 {
			t.Errorf("renewed %d times", n)
		}
		r.machine.FailReads(nil)
		time.Sleep(3 * time.Second)
		synctest.Wait()
		r.wantExecuting(t, true, "read again")
	})
}

func TestRulesAreSuspendedFromAChangeOfTheirDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.machine.AddLink(enginetest.Veth("r0"))
		r.machine.AddLink(enginetest.Veth("r1"))
		r.setRules(t, nil, drop(1))
		r.run(t)
		settle()
		r.machine.FailReads(errors.New("nft is busy"))
		r.machine.ChangeLink("r1", func(l *engine.Link) { l.MTU = 1400 })
		settle()
		r.wantExecuting(t, true, "another device changed")
		r.machine.RenameLink("r0", "old0")
		synctest.Wait()
		r.wantExecuting(t, false, "the device has another name")
	})
}

func TestRulesThatWereMadeOfOldDevicesAreNotExecuted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.machine.AddLink(enginetest.Veth("r0"))
		r.machine.AddLink(enginetest.Veth("r1"))
		r.setRules(t, nil, drop(1))
		r.run(t)
		settle()
		renewals := 0
		r.machine.WhenListed(func() {
			renewals = r.rules.Renewals()
			r.machine.RenameLink("r1", "old1") // which no program was about
			time.Sleep(time.Millisecond)
			r.machine.FailReads(errors.New("nft is busy"))
		})
		r.machine.Announce(engine.Change{What: "ruleset", Reread: true, Rules: true})
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := r.rules.Renewals() - renewals; n != 0 {
			t.Errorf("renewed %d times", n)
		}
		r.machine.FailReads(nil)
		time.Sleep(3 * time.Second)
		synctest.Wait()
		r.wantExecuting(t, true, "read again")
	})
}

func TestRulesThatAreTheSameAreNotLoadedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.machine.AddLink(enginetest.Veth("r0"))
		r.setRules(t, nil, drop(1), drop(2))
		r.run(t)
		settle()
		before, suspended := r.datapath.Applies(), r.rules.Suspensions()
		r.setRules(t, nil, drop(1), drop(2))
		settle()
		if n := r.datapath.Applies() - before; n != 0 {
			t.Errorf("applied %d times", n)
		}
		if r.rules.Suspensions() == suspended {
			t.Error("they were not suspended until that was known")
		}
		r.wantExecuting(t, true, "known to be the same")
	})
}

func TestRulesAreSuspendedWhileNobodyWatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.machine.AddLink(enginetest.Veth("r0"))
		r.setRules(t, nil, drop(1))
		r.run(t)
		r.machine.BreakWatches()
		time.Sleep(time.Second)
		synctest.Wait()
		r.wantExecuting(t, false, "the watch is lost")
		time.Sleep(10 * time.Second)
		synctest.Wait()
		r.wantExecuting(t, true, "watched again")
	})
}

func TestProgramThatTheVerifierRefusesLeavesTheRulesToNftables(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.machine.AddLink(enginetest.Veth("r0"))
		r.setRules(t, nil, drop(1))
		r.run(t)
		settle()
		r.datapath.RefuseRules("r0", "R3 !read_ok")
		r.setRules(t, nil, drop(1), drop(2))
		settle()
		wantDevices(t, r, "") // not the program of rules that are no more
		d := r.ruled(t)
		if d.Hook != engine.Off || d.Reason.Code != reason.RulesRefused || d.Said != "R3 !read_ok" || d.Early != 0 {
			t.Errorf("status: %+v", d)
		}
		applies := r.datapath.Applies()
		r.setRules(t, nil, drop(1), drop(2))
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if n := r.datapath.Applies() - applies; n > 0 {
			t.Errorf("the same program was tried %d times again", n)
		}
		r.datapath.RefuseRules("r0", "")
		r.setRules(t, nil, drop(1))
		settle()
		wantDevices(t, r, "2 r0 alone, 1 rules at tc")
		if d := r.ruled(t); d.Said != "" || !d.Reason.OK() {
			t.Errorf("status: %+v", d)
		}
	})
}

func TestRulesGoToTCWhereXDPCannotBeAttached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.machine.AddLink(enginetest.NIC("r0"))
		r.datapath.Refuse("r0", engine.XDP, engine.Refusal{Err: errors.New("no memory")})
		r.setRules(t, nil, drop(1))
		r.run(t)
		wantDevices(t, r, "2 r0 alone, 1 rules at tc")
		r.wantExecuting(t, true, "at tc")
	})
}

func TestRulesThatCannotBeAttachedAreTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.machine.AddLink(enginetest.Veth("r0"))
		r.datapath.Refuse("r0", engine.TC, engine.Refusal{Err: errors.New("no memory")})
		r.setRules(t, nil, drop(1))
		r.run(t)
		wantDevices(t, r, "")
		if d := r.ruled(t); d.Reason.Code != reason.OffAttachFailed || d.Hook != engine.Off {
			t.Errorf("status: %+v", d)
		}
		r.datapath.Accept("r0", engine.TC)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		wantDevices(t, r, "2 r0 alone, 1 rules at tc")
		r.wantExecuting(t, true, "attached")
	})
}

func TestRulesGoToTCWhereTheDeviceLacksWhatXDPNeeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		nic := enginetest.NIC("r0")
		nic.XDP = engine.Reason{Code: reason.XDPRxVLANOn, Text: "it takes tags off"}
		r.machine.AddLink(nic)
		r.setRules(t, nil, drop(1))
		r.run(t)
		wantDevices(t, r, "2 r0 alone, 1 rules at tc")
		if d := r.ruled(t); d.Reason.Code != reason.XDPRxVLANOn {
			t.Errorf("status: %+v", d)
		}
	})
}

func TestFlowsPassChainsThatAreExecutedWhole(t *testing.T) {
	for _, c := range []struct {
		name, want string
		rules      []string
	}{
		{"whole", "2 r0 tc, 1 rules at tc\n3 r1 tc", []string{drop(1)}},
		{"a passing packet would be counted", "2 r0 tc refused, 2 rules at tc\n3 r1 tc", []string{drop(1), countPort}},
		{"in part", "2 r0 tc refused, 1 rules at tc\n3 r1 tc", []string{drop(1), `{"log": {"prefix": "x"}}`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig()
				r.machine.AddLink(enginetest.Veth("r0"))
				r.machine.AddLink(enginetest.Veth("r1"))
				r.setRules(t, []string{"r0", "r1"}, c.rules...)
				r.run(t)
				wantDevices(t, r, c.want)
			})
		})
	}
}

func TestCountersOfRulesAreInTheStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.machine.AddLink(enginetest.Veth("r0"))
		r.setRules(t, nil, drop(1))
		id := engine.RuleID{Family: "netdev", Table: "t", TableHandle: 3, Chain: "c", Handle: 10}
		r.rules.SetCounted(engine.Counted{
			Rules:   map[engine.RuleID]engine.Counter{id: {Packets: 5, Bytes: 500}},
			Devices: map[string]engine.EarlyPackets{"r0": {Dropped: 5, Ended: 2}},
		})
		r.run(t)
		if d := r.ruled(t); d.Packets.Dropped != 5 || d.Packets.Ended != 2 || d.Early != 1 {
			t.Errorf("status: %+v", d)
		}
		counts, err := r.RuleCounts(t.Context())
		if err != nil || len(counts) != 1 || counts[0].RuleID != id || counts[0].Packets != 5 {
			t.Errorf("counters: %+v, %v", counts, err)
		}
	})
}
