package engine_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/engine/enginetest"
	"github.com/nft-offload/nft-offload/internal/reason"
)

func vlan(name, lower string, id uint16) engine.Link {
	return engine.Link{Name: name, Kind: "vlan", Ethernet: true, Lower: lower, VLAN: id, VLANProtocol: "802.1Q"}
}

func port(l engine.Link, bridge string) engine.Link {
	l.Master, l.MasterKind = bridge, "bridge"
	return l
}

func TestEngineStartsBeforeTheDevicesExist(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.machine.SetRules(flowtable("wan.7", "lan"))
		r.run(t)
		wantDevices(t, r, "")
		if d := device(t, r, "wan.7"); d.Hook != engine.Off || d.Reason.Code != reason.OffNoDevice {
			t.Errorf("missing: %+v", d)
		}
		r.machine.AddLink(enginetest.Veth("lan"))
		settle()
		wantDevices(t, r, "2 lan tc")
		r.machine.AddLink(enginetest.Veth("wan"))
		settle()
		wantDevices(t, r, "2 lan tc")
		r.machine.AddLink(vlan("wan.7", "wan", 7))
		settle()
		wantDevices(t, r, "2 lan tc\n3 wan tc\n4 wan.7 above")
		if d := device(t, r, "wan.7"); d.Hook != engine.TC || d.Where() != "tc on wan (tag 7)" {
			t.Errorf("there: %+v", d)
		}
		r.machine.RemoveLink("wan.7")
		settle()
		wantDevices(t, r, "2 lan tc")
	})
}

func TestPortsOfABridgeComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.machine.SetRules(flowtable("br0"))
		r.machine.AddLink(engine.Link{Name: "br0", Kind: "bridge", Ethernet: true})
		r.run(t)
		wantDevices(t, r, "")
		if d := device(t, r, "br0"); d.Reason.Code != reason.OffNoPort {
			t.Errorf("empty: %+v", d)
		}
		r.machine.AddLink(enginetest.Veth("r0"))
		r.machine.AddLink(port(enginetest.Veth("r2"), "br0"))
		settle()
		wantDevices(t, r, "2 br0 above\n4 r2 tc")
		r.machine.ChangeLink("r0", func(l *engine.Link) { *l = port(*l, "br0") })
		settle()
		wantDevices(t, r, "2 br0 above\n3 r0 tc\n4 r2 tc")
		r.machine.ChangeLink("r2", func(l *engine.Link) { l.Master, l.MasterKind = "", "" })
		settle()
		wantDevices(t, r, "2 br0 above\n3 r0 tc")
	})
}

func TestDeviceStackedOnOneInUseIsTakenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.machine.SetRules(flowtable("r0"))
		r.machine.AddLink(enginetest.Veth("r0"))
		r.run(t)
		settle()
		bumps := len(r.datapath.Bumps())
		r.machine.AddLink(vlan("r0.10", "r0", 10))
		settle()
		wantDevices(t, r, "2 r0 tc\n3 r0.10 above")
		if len(r.datapath.Bumps()) == bumps {
			t.Error("no generation for a new device above")
		}
	})
}

func TestRenamedDeviceIsLeftAndFoundUnderTheNewName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.machine.SetRules(flowtable("lan", "wan"))
		r.machine.AddLink(enginetest.Veth("lan"))
		eth0 := enginetest.Veth("eth0")
		eth0.Ifindex = 9
		r.machine.AddLink(eth0)
		r.run(t)
		wantDevices(t, r, "2 lan tc")
		r.machine.RenameLink("eth0", "wan")
		settle()
		wantDevices(t, r, "2 lan tc\n9 wan tc")
		r.machine.RenameLink("lan", "old")
		settle()
		wantDevices(t, r, "9 wan tc")
		if d := device(t, r, "lan"); d.Reason.Code != reason.OffNoDevice {
			t.Errorf("renamed away: %+v", d)
		}
	})
}

func TestRefusedDeviceThatCannotBeWatchedIsNoProblem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.machine.SetRules(flowtable("r0.10"))
		r0 := enginetest.Veth("r0")
		r0.Filters = []string{"tcx ingress program theirs"}
		r.machine.AddLink(r0)
		r.machine.AddLink(vlan("r0.10", "r0", 10))
		r.datapath.Refuse("r0", engine.TC, engine.Refusal{Err: errors.New("no room")})
		r.run(t)
		wantDevices(t, r, "3 r0.10 above refused")
		if s := status(t, r); len(s.Problems) != 0 {
			t.Errorf("problems %+v", s.Problems)
		}
		if d := device(t, r, "r0.10"); d.Reason.Code != reason.OffForeignFilter || !strings.Contains(d.Reason.Text, "theirs on r0") {
			t.Errorf("decided %+v", d)
		}
		r.machine.ChangeLink("r0", func(l *engine.Link) { l.Filters = nil })
		r.datapath.Refuse("r0", engine.TC, engine.Refusal{})
		settle()
		if d := device(t, r, "r0.10"); d.Hook != engine.Off || d.Reason.Code != reason.OffAttachFailed {
			t.Errorf("a device that is in the way no more, and cannot be attached: %+v", d)
		}
	})
}

func TestXDPRefusedBelowAVLANFallsBackToTC(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.machine.SetRules(flowtable("eth0.10", "eth0.20"))
		r.machine.AddLink(enginetest.NIC("eth0"))
		r.machine.AddLink(vlan("eth0.10", "eth0", 10))
		r.machine.AddLink(vlan("eth0.20", "eth0", 20))
		r.datapath.Refuse("eth0", engine.XDP, engine.Refusal{Busy: true, Err: errors.New("busy")})
		r.run(t)
		wantDevices(t, r, "2 eth0 tc\n3 eth0.10 above\n4 eth0.20 above")
		for _, name := range []string{"eth0.10", "eth0.20"} {
			if d := device(t, r, name); d.Hook != engine.TC || d.Reason.Code != reason.OffXDPBusy {
				t.Errorf("decided %+v", d)
			}
		}
	})
}

func TestXDPAskedForOnAVLANAndRefusedBelowEndsTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.machine.SetRules(flowtable("eth0.10"))
		r.machine.AddLink(enginetest.NIC("eth0"))
		r.machine.AddLink(vlan("eth0.10", "eth0", 10))
		r.datapath.Refuse("eth0", engine.XDP, engine.Refusal{Busy: true, Err: errors.New("busy")})
		r.choices["eth0.10"] = engine.XDP
		r.run(t)
		var refused *engine.DeviceError
		if err := <-r.ended; !errors.As(err, &refused) || refused.Device != "eth0.10" || refused.Reason.Code != reason.OffXDPBusy {
			t.Errorf("run ended with %v, want a refusal of eth0.10", err)
		}
		r.ended <- nil
	})
}
