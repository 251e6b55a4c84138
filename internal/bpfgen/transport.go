package bpfgen

import (
	"github.com/cilium/ebpf/asm"

	"github.com/nft-offload/nft-offload/internal/plan/share"
	"github.com/nft-offload/nft-offload/internal/plan/space"
)

// Protocol numbers of IPv6 extension headers (net/ipv6/exthdrs_core.c, ipv6_ext_hdr).
const (
	protoHopByHop = 0
	protoRouting  = 43
	protoFragment = 44
	protoAH       = 51
	protoDest     = 60
)

const (
	ipv4Len, ipv6Len = 20, 40
	// maxTransport is the furthest from the first byte that a transport header is looked for.
	maxTransport = 511
	maxHeaders   = 8 // IPv6 extension headers
)

// finding is where the search for the transport header ends.
type finding struct {
	found   label // its offset and protocol are in the scratch value
	none    label // there is none that nftables would trust
	later   label // the packet is a later fragment: the protocol is known, its header is not here
	unknown label
}

// protocols stores the transport protocol and fields of its header. What counts is what nft_set_pktinfo_ipv4_validate
// and _ipv6_validate accept (include/net/netfilter/nf_tables_ipv4.h, nf_tables_ipv6.h). R2 is the network header.
func (p prologue) protocols() {
	if p.l.transport()|p.l.beyond(nameL4Proto) == 0 {
		return
	}
	to := finding{p.label(), p.label(), p.label(), p.label()}
	six, done := p.label(), p.label()
	p.add(load(asm.R5, atProtocol, asm.DWord))
	p.jump(asm.JEq.Imm(asm.R5, etherIPv6, ""), six)
	p.jump(asm.JNE.Imm(asm.R5, etherIPv4, ""), to.none)
	p.ipv4(to)
	p.bind(six)
	p.ipv6(to)

	p.bind(to.found)
	p.protocol()
	p.frame()
	p.add(load(asm.R1, atTransport, asm.Word), asm.And.Imm(asm.R1, maxTransport), asm.Add.Reg(asm.R2, asm.R1))
	p.header(space.Transport, asm.R2, 0, 0)
	p.goTo(done)
	p.bind(to.later)
	p.protocol()
	// Loads of 1, 2 and 4 bytes do not ask whether there is a header (nft_payload_fast_eval).
	p.add(asm.Or.Imm(regDoubt, int32(p.l.transport())))
	p.goTo(done)
	p.bind(to.unknown)
	p.add(asm.Or.Imm(regDoubt, int32(p.l.transport()|p.l.beyond(nameL4Proto))))
	p.goTo(done)
	p.bind(to.none)
	p.add(asm.Or.Imm(regAbsent, int32(p.l.transport()|p.l.beyond(nameL4Proto))))
	p.bind(done)
}

// protocol stores the transport protocol.
func (p prologue) protocol() {
	if at, ok := p.l.places[spot{Field: space.L4Proto()}]; ok {
		p.add(load(asm.R0, atNext, asm.Word), store(at.at, asm.R0, asm.DWord))
	}
}

func (p prologue) ipv4(to finding) {
	p.beyond(ipv4Len, to.none)
	p.add(asm.LoadMem(asm.R4, asm.R2, 0, asm.Byte), asm.Mov.Reg(asm.R5, asm.R4), asm.RSh.Imm(asm.R5, 4))
	p.jump(asm.JNE.Imm(asm.R5, 4, ""), to.none)
	p.add(asm.And.Imm(asm.R4, 15), asm.LSh.Imm(asm.R4, 2))
	p.jump(asm.JLT.Imm(asm.R4, ipv4Len, ""), to.none)
	p.add(asm.LoadMem(asm.R5, asm.R2, 2, asm.Half), asm.HostTo(asm.BE, asm.R5, asm.Half))
	if p.l.share.Hook == share.TC {
		// Merged segments of more than 64 KB have no length in the header; what kernels make of that differs.
		long := p.label()
		p.jump(asm.JNE.Imm(asm.R5, 0, ""), long)
		p.add(asm.LoadMem(asm.R1, regCtx, skbGSO, asm.Word))
		p.jump(asm.JNE.Imm(asm.R1, 0, ""), to.unknown)
		p.bind(long)
	}
	p.jump(asm.JLT.Reg(asm.R5, asm.R4, ""), to.none)
	p.add(load(asm.R1, atLength, asm.DWord))
	p.jump(asm.JLT.Reg(asm.R1, asm.R5, ""), to.none)
	p.add(load(asm.R1, atNet, asm.Word), asm.Add.Reg(asm.R4, asm.R1), store(atTransport, asm.R4, asm.Word),
		asm.LoadMem(asm.R0, asm.R2, 9, asm.Byte), store(atNext, asm.R0, asm.Word),
		asm.LoadMem(asm.R5, asm.R2, 6, asm.Half), asm.HostTo(asm.BE, asm.R5, asm.Half), asm.And.Imm(asm.R5, 0x1fff))
	p.jump(asm.JNE.Imm(asm.R5, 0, ""), to.later)
	p.goTo(to.found)
}

// ipv6 follows the extension headers (ipv6_find_hdr with IP6_FH_F_AUTH).
func (p prologue) ipv6(to finding) {
	p.beyond(ipv6Len, to.none)
	p.add(asm.LoadMem(asm.R5, asm.R2, 0, asm.Byte), asm.RSh.Imm(asm.R5, 4))
	p.jump(asm.JNE.Imm(asm.R5, 6, ""), to.none)
	p.add(asm.LoadMem(asm.R5, asm.R2, 4, asm.Half), asm.HostTo(asm.BE, asm.R5, asm.Half), asm.Add.Imm(asm.R5, ipv6Len),
		load(asm.R1, atLength, asm.DWord))
	p.jump(asm.JLT.Reg(asm.R1, asm.R5, ""), to.none)
	p.add(asm.LoadMem(asm.R0, asm.R2, 6, asm.Byte), store(atNext, asm.R0, asm.Word),
		load(asm.R4, atNet, asm.Word), asm.Add.Imm(asm.R4, ipv6Len), store(atTransport, asm.R4, asm.Word))
	for range maxHeaders {
		p.extension(to)
	}
	p.goTo(to.unknown)
}

// extension steps over an extension header. What is in registers is loaded anew, for the verifier's sake.
func (p prologue) extension(to finding) {
	header, step, fragment, first := p.label(), p.label(), p.label(), p.label()
	p.add(load(asm.R0, atNext, asm.Word), load(asm.R4, atTransport, asm.Word))
	p.jump(asm.JGT.Imm(asm.R4, maxTransport, ""), to.unknown)
	for _, n := range []int32{protoHopByHop, protoRouting, protoFragment, protoAH, protoDest} {
		p.jump(asm.JEq.Imm(asm.R0, n, ""), header)
	}
	p.goTo(to.found)

	p.bind(header)
	p.frame()
	p.add(asm.Add.Reg(asm.R2, asm.R4))
	p.beyond(2, to.none)
	p.jump(asm.JEq.Imm(asm.R0, protoAH, ""), to.found)
	p.add(asm.LoadMem(asm.R5, asm.R2, 1, asm.Byte), asm.LSh.Imm(asm.R5, 3), asm.Add.Imm(asm.R5, 8))
	p.jump(asm.JEq.Imm(asm.R0, protoFragment, ""), fragment)
	p.jump(asm.JNE.Imm(asm.R0, protoRouting, ""), step)
	p.beyond(4, to.none)
	p.goTo(step)

	p.bind(fragment)
	p.beyond(4, to.none)
	p.add(asm.LoadMem(asm.R5, asm.R2, 2, asm.Half), asm.HostTo(asm.BE, asm.R5, asm.Half), asm.And.Imm(asm.R5, 0xfff8))
	p.jump(asm.JEq.Imm(asm.R5, 0, ""), first)
	p.add(asm.LoadMem(asm.R0, asm.R2, 0, asm.Byte), store(atNext, asm.R0, asm.Word))
	for _, n := range []int32{protoHopByHop, protoRouting, protoFragment, protoAH, protoDest} {
		p.jump(asm.JEq.Imm(asm.R0, n, ""), to.none)
	}
	p.goTo(to.later)
	p.bind(first)
	p.add(asm.Mov.Imm(asm.R5, 8))

	p.bind(step)
	p.add(asm.LoadMem(asm.R0, asm.R2, 0, asm.Byte), store(atNext, asm.R0, asm.Word),
		asm.Add.Reg(asm.R4, asm.R5), store(atTransport, asm.R4, asm.Word))
}
