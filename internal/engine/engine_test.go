package engine_test

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/engine/enginetest"
	"github.com/nft-offload/nft-offload/internal/handover"
	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/reason"
)

// rig is an engine on fakes, with the clock of a synctest bubble.
type rig struct {
	*engine.Engine
	machine    *enginetest.Machine
	datapath   *enginetest.Datapath
	operator   *enginetest.Operator
	conntrack  *enginetest.Conntrack
	rules      *enginetest.Rules
	sets       *enginetest.Sets
	candidates chan packet.Tuple
	choices    engine.Choices
	log        *strings.Builder
	cancel     context.CancelFunc
	ended      chan error
}

func newRig() *rig {
	d := enginetest.NewDatapath()
	rules := &enginetest.Rules{}
	return &rig{
		rules: rules, sets: enginetest.NewSets(rules),
		machine: enginetest.NewMachine(), datapath: d, operator: enginetest.NewOperator(d), conntrack: &enginetest.Conntrack{},
		candidates: make(chan packet.Tuple, 1024), choices: engine.Choices{}, log: &strings.Builder{},
	}
}

// flowtable is a lowered flowtable over devices.
func flowtable(devices ...string) handover.Ruleset {
	return handover.Ruleset{Flowtables: []handover.Flowtable{{
		Family: "inet", Table: "filter", Name: "f1", Devices: devices, Lowered: true, Labels: handover.Label(127),
	}}}
}

// run starts the engine and waits until nothing moves; it ends with the test.
func (r *rig) run(t *testing.T) *rig {
	t.Helper()
	r.Engine = engine.New(engine.Config{
		Source: r.machine.Source(), Links: r.machine.Links(), Datapath: r.datapath, Operator: r.operator, Conntrack: r.conntrack,
		Candidates: r.candidates, Choices: r.choices, Chains: r.machine.Chains(), Rules: r.rules, Sets: r.sets, Settings: engine.Settings{Lease: engine.Seconds(2 * time.Second)},
		Log: slog.New(slog.NewTextHandler(r.log, nil)),
	})
	ctx, cancel := context.WithCancel(t.Context())
	r.cancel, r.ended = cancel, make(chan error, 1)
	go func() { r.ended <- r.Run(ctx) }()
	t.Cleanup(func() { cancel(); synctest.Wait() })
	synctest.Wait()
	return r
}

// settle lets time pass that covers gaps between readings.
func settle() {
	time.Sleep(300 * time.Millisecond) // of the bubble's clock
	synctest.Wait()
}

func wantDevices(t *testing.T, r *rig, want string) {
	t.Helper()
	if got := strings.TrimSpace(r.datapath.String()); got != want {
		t.Errorf("the datapath runs on\n%s\nwant\n%s", got, want)
	}
}

func TestBurstOfChangesMakesOneGenerationAtOnceAndOneAfterIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig().run(t)
		settle()
		before, begin := len(r.datapath.Bumps()), time.Now()
		for range 10000 {
			r.machine.Announce(engine.Change{What: "route"})
		}
		settle()
		bumps := r.datapath.Bumps()[before:]
		if len(bumps) != 2 || !bumps[0].Equal(begin) || bumps[1].Sub(begin) != 10*time.Millisecond {
			t.Errorf("generations began at %v after the burst, want one at once and one 10 ms later", since(bumps, begin))
		}
	})
}

func TestStormOfChangesMakesAtMostAHundredGenerationsASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig().run(t)
		settle()
		before, begin := len(r.datapath.Bumps()), time.Now()
		var last time.Time
		for range 1000 {
			last = time.Now()
			r.machine.Announce(engine.Change{What: "route"})
			time.Sleep(time.Millisecond)
		}
		settle()
		bumps := r.datapath.Bumps()[before:]
		if len(bumps) < 99 || len(bumps) > 102 {
			t.Errorf("%d generations in a second, want about 100", len(bumps))
		}
		if end := bumps[len(bumps)-1]; end.Before(last) {
			t.Errorf("the last change came %v, the last generation began before, %v", last.Sub(begin), end.Sub(begin))
		}
	})
}

func since(times []time.Time, t0 time.Time) []time.Duration {
	var out []time.Duration
	for _, t := range times {
		out = append(out, t.Sub(t0))
	}
	return out
}

func TestRouteChangeDoesNotReadTheRuleset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig().run(t)
		settle()
		reads := r.machine.Reads()
		r.machine.Announce(engine.Change{What: "route"})
		settle()
		if got := r.machine.Reads(); got != reads {
			t.Errorf("%d readings for a route", got-reads)
		}
	})
}

func TestQuietChangeStartsAGenerationOnlyWithAnotherDecision(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.machine.AddLink(enginetest.NIC("eth0"))
		r.machine.SetRules(flowtable("eth0"))
		r.run(t)
		settle()
		bumps, reads := len(r.datapath.Bumps()), r.machine.Reads()
		r.machine.ChangeQueue("eth0", func(*engine.Link) {})
		settle()
		if got := len(r.datapath.Bumps()); got != bumps || r.machine.Reads() == reads {
			t.Errorf("%d generations and %d readings for a shaper's new rate", got-bumps, r.machine.Reads()-reads)
		}
		r.machine.ChangeQueue("eth0", func(l *engine.Link) {
			l.XDPTarget = engine.Reason{Code: reason.XDPQdiscShapes, Text: "a shaper"}
		})
		settle()
		if got := len(r.datapath.Bumps()); got != bumps+1 {
			t.Errorf("%d generations for a new shaper", got-bumps)
		}
	})
}

func TestDeviceThatGoesAndComesBackIsAttachedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.machine.AddLink(enginetest.Veth("r0"))
		r.machine.AddLink(enginetest.Veth("r1"))
		r.machine.SetRules(flowtable("r0", "r1"))
		r.run(t)
		wantDevices(t, r, "2 r0 tc\n3 r1 tc")
		r.machine.RemoveLink("r1")
		settle()
		wantDevices(t, r, "2 r0 tc")
		if d := device(t, r, "r1"); d.Reason.Code != reason.OffNoDevice {
			t.Errorf("missing device: %+v", d)
		}
		r.machine.AddLink(enginetest.Veth("r1"))
		settle()
		wantDevices(t, r, "2 r0 tc\n4 r1 tc")
	})
}

func TestDeviceReplacedUnderTheSameIndexIsAppliedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		i := r.machine.AddLink(enginetest.Veth("r0"))
		r.machine.SetRules(flowtable("r0"))
		r.run(t)
		settle()
		applies := r.datapath.Applies()
		// Both before the engine can read again: what it reads is what it had.
		r.machine.RemoveLink("r0")
		l := enginetest.Veth("r0")
		l.Ifindex = i
		r.machine.AddLink(l)
		settle()
		if r.datapath.Applies() == applies {
			t.Error("the new device has none of our programs")
		}
	})
}

func TestUnchangedDevicesAreNotAppliedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.machine.AddLink(enginetest.Veth("r0"))
		r.machine.SetRules(flowtable("r0"))
		r.run(t)
		settle()
		applies := r.datapath.Applies()
		r.machine.SetRules(flowtable("r0"))
		settle()
		if got := r.datapath.Applies(); got != applies {
			t.Errorf("%d more Apply for a ruleset with the same flowtables", got-applies)
		}
	})
}

func TestWithoutFlowtableTheEngineStaysUpAndNamesEnable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig().run(t)
		settle()
		if !strings.Contains(r.log.String(), "nft-offload enable") {
			t.Errorf("the log does not say how to begin: %s", r.log)
		}
		r.machine.AddLink(enginetest.Veth("r0"))
		r.machine.SetRules(flowtable("r0"))
		settle()
		wantDevices(t, r, "2 r0 tc")
	})
}

func TestXDPRefusedByTheKernelFallsBackToTC(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.machine.AddLink(enginetest.NIC("eth0"))
		r.machine.SetRules(flowtable("eth0"))
		r.datapath.Refuse("eth0", engine.XDP, engine.Refusal{Busy: true, Err: errors.New("busy")})
		r.run(t)
		wantDevices(t, r, "2 eth0 tc")
		if d := device(t, r, "eth0"); d.Reason.Code != reason.OffXDPBusy {
			t.Errorf("reason %+v, want %s", d.Reason, reason.OffXDPBusy)
		}
	})
}

// What made the driver refuse may be what the user has just changed.
func TestXDPIsTriedAgainOnceTheDeviceIsAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.machine.AddLink(enginetest.NIC("eth0"))
		r.machine.SetRules(flowtable("eth0"))
		r.datapath.Refuse("eth0", engine.XDP, engine.Refusal{Err: errors.New("MTU too large")})
		r.run(t)
		r.datapath.Accept("eth0", engine.XDP)
		r.machine.Announce(engine.Change{What: "something else", Reread: true})
		settle()
		wantDevices(t, r, "2 eth0 tc")
		r.machine.ChangeLink("eth0", func(l *engine.Link) { l.MTU = 1500 })
		settle()
		wantDevices(t, r, "2 eth0 xdp")
	})
}

func TestFailedAttachIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.machine.AddLink(enginetest.Veth("r0"))
		r.machine.SetRules(flowtable("r0"))
		r.datapath.Refuse("r0", engine.TC, engine.Refusal{Err: errors.New("no memory")})
		r.run(t)
		wantDevices(t, r, "")
		time.Sleep(10 * time.Minute) // of the bubble's clock
		if n := r.datapath.Applies(); n < 5 || n > 30 {
			t.Errorf("tried %d times in ten minutes", n)
		}
		r.datapath.Accept("r0", engine.TC)
		time.Sleep(time.Minute)
		synctest.Wait()
		wantDevices(t, r, "2 r0 tc")
		n := r.datapath.Applies()
		time.Sleep(10 * time.Minute)
		if now := r.datapath.Applies(); now != n {
			t.Errorf("applied %d times more when nothing fails", now-n)
		}
	})
}

// Devices go away by the hundred when containers stop, and so may we.
func TestEngineEndsWhileDevicesGoAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.machine.SetRules(flowtable("r0"))
		r.run(t)
		release := r.datapath.HoldSweeps()
		time.Sleep(2 * time.Second) // of the bubble's clock: a sweep is held
		for i := range uint32(200) {
			go r.machine.Announce(engine.Change{What: "gone", Gone: 100 + i})
		}
		synctest.Wait()
		r.cancel()
		release()
		synctest.Wait()
		select {
		case err := <-r.ended:
			r.ended <- err
		default:
			t.Error("the engine does not end")
		}
	})
}

func TestXDPAskedForAndRefusedByTheKernelEndsTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.machine.AddLink(enginetest.NIC("eth0"))
		r.machine.SetRules(flowtable("eth0"))
		r.datapath.Refuse("eth0", engine.XDP, engine.Refusal{Busy: true, Err: errors.New("busy")})
		r.choices["eth0"] = engine.XDP
		r.run(t)
		var refused *engine.DeviceError
		if err := <-r.ended; !errors.As(err, &refused) || refused.Reason.Code != reason.OffXDPBusy {
			t.Errorf("run ended with %v, want a refusal of eth0", err)
		}
		r.ended <- nil
	})
}

func TestUnknownDeviceEndsTheRunBeforeAnythingIsAttached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.choices["eth7"] = engine.XDP
		r.run(t)
		var refused *engine.DeviceError
		if err := <-r.ended; !errors.As(err, &refused) || refused.Device != "eth7" {
			t.Errorf("run ended with %v, want a refusal of eth7", err)
		}
		if r.datapath.Applies() != 0 {
			t.Error("the datapath was touched")
		}
		r.ended <- nil
	})
}

func TestFailedReadingIsTriedAgainAndShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.machine.AddLink(enginetest.Veth("r0"))
		r.run(t)
		settle()
		r.machine.FailReads(errors.New("nft crashed"))
		r.machine.SetRules(flowtable("r0"))
		settle()
		wantDevices(t, r, "")
		s := status(t, r)
		if len(s.Problems) != 1 || !strings.Contains(s.Problems[0].Text, "nft crashed") {
			t.Errorf("problems %+v", s.Problems)
		}
		r.machine.FailReads(nil)
		time.Sleep(3 * time.Second)
		synctest.Wait()
		wantDevices(t, r, "2 r0 tc")
	})
}

func TestLostWatchIsStartedAgainAndCountsAsAChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.machine.AddLink(enginetest.Veth("r0"))
		r.run(t)
		settle()
		bumps := len(r.datapath.Bumps())
		r.machine.BreakWatches()
		r.machine.SetRules(flowtable("r0")) // nobody hears of this
		time.Sleep(time.Second)
		synctest.Wait()
		if r.datapath.Watched() {
			t.Error("leases may still be long, though nobody watches")
		}
		time.Sleep(4 * time.Second)
		synctest.Wait()
		if !r.datapath.Watched() {
			t.Error("leases stay short, though all is watched again")
		}
		if len(r.datapath.Bumps()) == bumps {
			t.Error("no generation after notifications were lost")
		}
		wantDevices(t, r, "2 r0 tc")
		r.machine.RemoveLink("r0")
		settle()
		wantDevices(t, r, "")
	})
}

func TestOtherMarkBitIsAppliedThoughTheDevicesAreTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.machine.AddLink(enginetest.Veth("r0"))
		r.machine.SetRules(flowtable("r0"))
		r.run(t)
		rules := flowtable("r0")
		rules.Flowtables[0].Mark = 0x8000
		r.machine.SetRules(rules)
		settle()
		wantDevices(t, r, "2 r0 tc\nmark 0x8000")
	})
}

func TestFlowsAreFilteredNamedAndTheBusiestFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.machine.AddLink(enginetest.Veth("r0"))
		r.machine.AddLink(enginetest.Veth("r1"))
		r.datapath.SetLive(
			engine.Activity{Tuple: tuple("10.0.0.1:1", "10.0.1.1:53"), Bytes: 5},
			engine.Activity{Tuple: tuple("10.0.0.2:2", "10.0.1.1:53"), Bytes: 9},
			engine.Activity{Tuple: tuple("10.0.0.3:2", "10.0.1.1:80"), Bytes: 7},
		)
		r.run(t)
		f, err := engine.ParseFilter("10.0.0.0/24", "", "53", "tcp")
		if err != nil {
			t.Fatal(err)
		}
		flows, err := r.Flows(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		if len(flows) != 2 || flows[0].Bytes != 9 || flows[1].Bytes != 5 || flows[0].In != "r0" || flows[0].Out != "r1" {
			t.Errorf("flows %+v", flows)
		}
	})
}

func TestStoppedEngineSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig().run(t)
		r.cancel()
		if err := <-r.ended; err != nil {
			t.Errorf("run ended with %v", err)
		}
		if _, err := r.Status(context.Background()); !errors.Is(err, engine.ErrStopped) {
			t.Errorf("status of a stopped engine: %v", err)
		}
	})
}

func device(t *testing.T, r *rig, name string) engine.Decision {
	t.Helper()
	for _, d := range status(t, r).Devices {
		if d.Name == name {
			return d
		}
	}
	t.Fatalf("no device %s in the status", name)
	return engine.Decision{}
}

func status(t *testing.T, r *rig) engine.Status {
	t.Helper()
	s, err := r.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func tuple(src, dst string) packet.Tuple {
	return packet.Tuple{Src: netip.MustParseAddrPort(src), Dst: netip.MustParseAddrPort(dst), Proto: packet.TCP}
}
