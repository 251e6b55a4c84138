package contract_test

import (
	"testing"

	"github.com/nft-offload/nft-offload/internal/caps"
	"github.com/nft-offload/nft-offload/internal/plan/contract"
	"github.com/nft-offload/nft-offload/internal/reason"
)

func TestFlowAddTakesEstablishedFlows(t *testing.T) {
	for _, f := range []contract.Flow{
		{Proto: contract.TCP, TCPState: "ESTABLISHED"},
		{Proto: contract.TCP, NAT: true, IPv6: true},
		{Proto: contract.UDP},
		{Proto: contract.GRE},
		{Proto: contract.UDP, Path: contract.Path{Tags: 2, Stack: 5, Tunnels: 1, Lowest: "eth0", Listed: []string{"eth0"}}},
	} {
		if r := f.Refused(); r != reason.None {
			t.Errorf("%+v: %s", f, r)
		}
	}
}

func TestEachReasonOfFlowsAndPackets(t *testing.T) {
	seen := map[reason.Reason]bool{}
	check := func(what any, got, want reason.Reason) {
		seen[got] = true
		if got != want {
			t.Errorf("%+v: %s, want %s", what, got, want)
		}
	}
	tcp := func(change func(*contract.Flow)) contract.Flow {
		f := contract.Flow{Proto: contract.TCP, TCPState: "ESTABLISHED"}
		change(&f)
		return f
	}
	for want, f := range map[reason.Reason]contract.Flow{
		reason.FlowNotForwarded:         tcp(func(f *contract.Flow) { f.Local = true }),
		reason.FlowNoRule:               tcp(func(f *contract.Flow) { f.NoRule = true }),
		reason.FlowIPsec:                tcp(func(f *contract.Flow) { f.IPsec = true }),
		reason.FlowIPOptions:            tcp(func(f *contract.Flow) { f.IPOptions = true }),
		reason.FlowUntracked:            tcp(func(f *contract.Flow) { f.Untracked = true }),
		reason.FlowTCPClosing:           tcp(func(f *contract.Flow) { f.Closing = true }),
		reason.FlowTCPNotEstablished:    tcp(func(f *contract.Flow) { f.TCPState = "SYN_RECV" }),
		reason.FlowTCPNotAssured:        tcp(func(f *contract.Flow) { f.NotAssured = true }),
		reason.FlowHelper:               tcp(func(f *contract.Flow) { f.Helper = "ftp" }),
		reason.FlowSeqAdjust:            tcp(func(f *contract.Flow) { f.SeqAdjust = true }),
		reason.FlowNATClash:             tcp(func(f *contract.Flow) { f.NATClash = true }),
		reason.FlowAlreadyOffloaded:     tcp(func(f *contract.Flow) { f.Offloaded = true }),
		reason.FlowNoReverseRoute:       tcp(func(f *contract.Flow) { f.NoReverseRoute = true }),
		reason.FlowNeighbour:            tcp(func(f *contract.Flow) { f.NoNeighbor = true }),
		reason.FlowDying:                tcp(func(f *contract.Flow) { f.Dying = true }),
		reason.FlowEncapDepth:           tcp(func(f *contract.Flow) { f.Path.Tags = 3 }),
		reason.FlowTunnelDepth:          tcp(func(f *contract.Flow) { f.Path.Tunnels = 2 }),
		reason.FlowPathStack:            tcp(func(f *contract.Flow) { f.Path.Stack = 6 }),
		reason.FlowLowerDeviceNotListed: tcp(func(f *contract.Flow) { f.Path = contract.Path{Lowest: "eth0", Listed: []string{"br0"}} }),
		reason.FlowUnconfirmed:          {Proto: contract.UDP, Unconfirmed: true},
		reason.FlowProtocol:             {Proto: 1},
		reason.FlowGREVersion:           {Proto: contract.GRE, GREVersion: 1},
		reason.FlowGRENAT:               {Proto: contract.GRE, NAT: true},
	} {
		check(f, f.Refused(), want)
	}
	check("TIME_WAIT", contract.Flow{Proto: contract.TCP, TCPState: "TIME_WAIT"}.Refused(), reason.FlowTCPClosing)
	check("zone", contract.Flow{Proto: contract.TCP, Zone: 2}.RefusedByUs(), reason.FlowZone)
	check("GRE", contract.Flow{Proto: contract.GRE}.RefusedByUs(), reason.FlowProtocol)
	check("one side", contract.Flow{Proto: contract.UDP, NoReply: true}.RefusedByUs(), reason.SeenNoReply)
	hardware(t, check)
	packets(check)
	for _, s := range []reason.Scope{reason.Flow, reason.Packet} {
		for _, r := range reason.Of(s) {
			if !seen[r] {
				t.Errorf("%s: no flow and no packet of this test has it", r)
			}
		}
	}
}

func hardware(t *testing.T, check func(any, reason.Reason, reason.Reason)) {
	mtk, ok := caps.Lookup("mtk")
	ixgbe, ok2 := caps.Lookup("ixgbe")
	if !ok || !ok2 {
		t.Fatal("no profile mtk or ixgbe")
	}
	v := caps.Version{Major: 7, Minor: 1}
	for want, f := range map[reason.Reason]contract.Flow{
		reason.FlowXfrmNotInHardware:    {Proto: contract.TCP, IPsecOut: true},
		reason.FlowTunnelNotInHardware:  {Proto: contract.TCP, Path: contract.Path{Tunnels: 1}},
		reason.FlowTagNotInHardware:     {Proto: contract.TCP, Path: contract.Path{Tags: 1, AD: true}},
		reason.FlowIPv6NATNotInHardware: {Proto: contract.TCP, IPv6: true, NAT: true},
		reason.FlowGRENotInHardware:     {Proto: contract.GRE},
		reason.FlowNotInHardware:        {Proto: contract.TCP},
	} {
		check(f, f.Unseen(v, mtk), want)
	}
	check("ixgbe", contract.Flow{Proto: contract.TCP}.NotInHardware(ixgbe, v), reason.FlowNotOfFTDriver)
	check("IPv4 NAT", contract.Flow{Proto: contract.TCP, NAT: true}.NotInHardware(mtk, v), reason.None)
}

func packets(check func(any, reason.Reason, reason.Reason)) {
	tcp := func(change func(*contract.Packet)) contract.Packet {
		p := contract.Packet{Proto: contract.TCP, TTL: 64, Len: 1500, MTU: 1500}
		change(&p)
		return p
	}
	old, late := caps.Version{Major: 6, Minor: 12}, caps.Version{Major: 6, Minor: 18}
	for want, p := range map[reason.Reason]contract.Packet{
		reason.PacketEncap:     tcp(func(p *contract.Packet) { p.Encap = true }),
		reason.PacketFragment:  tcp(func(p *contract.Packet) { p.Fragment = true }),
		reason.PacketOptions:   tcp(func(p *contract.Packet) { p.Options = true }),
		reason.PacketExtHeader: tcp(func(p *contract.Packet) { p.IPv6, p.ExtHeader = true, true }),
		reason.PacketProtocol:  tcp(func(p *contract.Packet) { p.Proto = 132 }),
		reason.PacketTTL:       tcp(func(p *contract.Packet) { p.TTL = 1 }),
		reason.PacketTooLong:   tcp(func(p *contract.Packet) { p.Len = 1501 }),
		reason.PacketClosing:   tcp(func(p *contract.Packet) { p.FINorRST = true }),
		reason.None:            tcp(func(*contract.Packet) {}),
	} {
		check(p, p.Slow(old), want)
	}
	check("FIN since 6.18", contract.Packet{Proto: contract.TCP, TTL: 2, FINorRST: true}.Slow(late), reason.None)
}
