package bpfgen

import (
	"github.com/cilium/ebpf/asm"

	"github.com/nft-offload/nft-offload/internal/plan/share"
	"github.com/nft-offload/nft-offload/internal/plan/space"
)

// EtherTypes (include/uapi/linux/if_ether.h).
const (
	etherIPv4  = 0x0800
	etherIPv6  = 0x86dd
	etherVLAN  = 0x8100
	etherQinQ  = 0x88a8
	least8023  = 0x0600 // the smallest that is no length
	proto8023  = 0x0001
	proto8022  = 0x0004
	novell8023 = 0xffff // what stands behind the length in 802.3 frames of Novell

	ethLen = 14
	tagLen = 4
)

// Places in the programs' contexts (struct xdp_md, struct __sk_buff of include/uapi/linux/bpf.h).
const (
	xdpData, xdpDataEnd = 0, 4

	skbLen, skbPktType, skbProtocol                = 0, 4, 16
	skbVLANPresent, skbVLANTCI, skbVLANProto       = 20, 24, 28
	skbTCIndex, skbCB, skbData, skbDataEnd, skbGSO = 44, 48, 76, 80, 176
)

// prologue is the code that stores in the scratch value what the entries read.
type prologue struct {
	*code
	l *layout
}

// start is the beginning of every chunk: it finds the scratch value.
func (c *code) start() {
	c.add(asm.Mov.Reg(regCtx, asm.R1),
		asm.StoreImm(asm.R10, -4, 0, asm.Word),
		asm.Mov.Reg(asm.R2, asm.R10), asm.Add.Imm(asm.R2, -4),
		mapPtr(asm.R1, ScratchMap),
		asm.FnMapLookupElem.Call())
	c.jump(asm.JEq.Imm(asm.R0, 0, ""), toPass)
	c.add(asm.Mov.Reg(regScratch, asm.R0))
}

// newPrologue makes the beginning of the first chunk: the lease, then the packet.
func newPrologue(l *layout) *code {
	p := prologue{&code{}, l}
	p.start()
	p.add(asm.FnJiffies64.Call(),
		asm.LoadMapValue(asm.R1, 0, 0).WithReference(LeaseMap),
		asm.LoadMem(asm.R1, asm.R1, 0, asm.DWord))
	p.jump(asm.JGE.Reg(asm.R0, asm.R1, ""), toSuspend)
	p.add(asm.Mov.Imm(regAbsent, 0), asm.Mov.Imm(regDoubt, 0),
		asm.StoreImm(regScratch, atNoted, 0, asm.Word), asm.StoreImm(regScratch, atCopied, 0, asm.Word))
	if l.share.Hook == share.XDP {
		p.arriveXDP()
	} else {
		p.arriveTC()
	}
	p.network()
	p.protocols()
	p.add(store(atAbsent, regAbsent, asm.Word), store(atDoubt, regDoubt, asm.Word))
	return p.code
}

// any jumps if one of these bits is set in a word of the scratch value. The word is loaded anew each time: what a
// verifier has learned of a register would make states differ that are the same to what follows.
func (c *code) any(at int, bits uint32, to label) {
	c.add(load(asm.R1, at, asm.Word))
	c.jump(asm.JSet.Imm(asm.R1, int32(bits), ""), to)
}

// frame loads where the packet's bytes begin (R2) and end (R3).
func (p prologue) frame() {
	data, end := int16(xdpData), int16(xdpDataEnd)
	if p.l.share.Hook == share.TC {
		data, end = skbData, skbDataEnd
	}
	p.add(asm.LoadMem(asm.R2, regCtx, data, asm.Word), asm.LoadMem(asm.R3, regCtx, end, asm.Word))
}

// beyond jumps if the packet has not so many bytes from R2. It uses R1.
func (p prologue) beyond(n int, to label) {
	p.add(asm.Mov.Reg(asm.R1, asm.R2), asm.Add.Imm(asm.R1, int32(n)))
	p.jump(asm.JGT.Reg(asm.R1, asm.R3, ""), to)
}

// arriveXDP does what the receive path is going to do (eth_type_trans, skb_vlan_untag): the type behind one tag is the
// protocol. A frame that it would not accept is left to it.
func (p prologue) arriveXDP() {
	done, tagged := p.label(), p.label()
	p.frame()
	p.beyond(ethLen, toLeave)
	p.add(asm.Mov.Reg(asm.R4, asm.R3), asm.Sub.Reg(asm.R4, asm.R2), asm.Add.Imm(asm.R4, -ethLen),
		asm.LoadMem(asm.R5, asm.R2, ethLen-2, asm.Half), asm.HostTo(asm.BE, asm.R5, asm.Half),
		asm.StoreImm(regScratch, atNet, ethLen, asm.Word))
	p.jump(asm.JEq.Imm(asm.R5, etherVLAN, ""), tagged)
	p.jump(asm.JEq.Imm(asm.R5, etherQinQ, ""), tagged)
	p.etherType(ethLen, done)
	p.goTo(done)

	p.bind(tagged)
	p.beyond(ethLen+tagLen+2, toLeave)
	p.add(asm.LoadMem(asm.R5, asm.R2, ethLen+2, asm.Half), asm.HostTo(asm.BE, asm.R5, asm.Half),
		asm.Add.Imm(asm.R4, -tagLen),
		asm.StoreImm(regScratch, atNet, ethLen+tagLen, asm.Word))
	if p.l.furthest(space.Link) > ethLen+2 { // the kernel puts the protocol behind the tag, where a length was
		p.jump(asm.JLT.Imm(asm.R5, least8023, ""), toLeave)
	}
	p.etherType(ethLen+tagLen, done)
	p.bind(done)
	p.add(store(atLength, asm.R4, asm.DWord), store(atProtocol, asm.R5, asm.DWord))
	p.link(asm.R2, 0, 0)
	p.addressed()
}

// etherType turns a length in R5 into the protocol that the kernel has for such frames.
func (p prologue) etherType(net int, done label) {
	p.jump(asm.JGE.Imm(asm.R5, least8023, ""), done)
	p.add(asm.Mov.Imm(asm.R5, proto8022))
	p.beyond(net+2, done)
	p.add(asm.LoadMem(asm.R1, asm.R2, int16(net), asm.Half))
	p.jump(asm.JNE.Imm(asm.R1, novell8023, ""), done)
	p.add(asm.Mov.Imm(asm.R5, proto8023))
}

func pktType() spot { return spot{Field: space.Field{Base: space.Beyond, Len: 8, Name: namePktType}} }

// addressed stores the packet type that the receive path is going to find (eth_type_trans). Whether a frame for one
// receiver is for this one depends on the device's address, which may change.
func (p prologue) addressed() {
	at, ok := p.l.places[pktType()]
	if !ok {
		return
	}
	const broadcast, multicast = 1, 2
	done, several := p.label(), p.label()
	p.add(asm.LoadMem(asm.R1, asm.R2, 0, asm.Byte), asm.And.Imm(asm.R1, 1))
	p.jump(asm.JNE.Imm(asm.R1, 0, ""), several)
	p.add(asm.Or.Imm(regDoubt, int32(at.class)))
	p.goTo(done)
	p.bind(several)
	p.add(asm.Mov.Imm(asm.R0, multicast), store(at.at, asm.R0, asm.DWord),
		asm.LoadMem(asm.R1, asm.R2, 0, asm.Word), asm.LoadMem(asm.R4, asm.R2, 4, asm.Half))
	p.jumpNot(asm.R1, 1<<32-1, 32, done)
	p.jumpNot(asm.R4, 1<<16-1, 16, done)
	p.add(asm.Mov.Imm(asm.R0, broadcast), store(at.at, asm.R0, asm.DWord))
	p.bind(done)
}

func (c *code) jumpNot(reg asm.Register, value uint64, bits int, to label) {
	c.jumpIf(asm.JNE, reg, value, bits, to)
}

// arriveTC makes the bytes linear that may be looked at, and takes over what the receive path has found.
func (p prologue) arriveTC() {
	net := int32(ethLen)
	if p.l.opts.Bare {
		net = 0
	}
	p.linear()
	p.add(asm.LoadMem(asm.R4, regCtx, skbLen, asm.Word), asm.Add.Imm(asm.R4, -net),
		store(atLength, asm.R4, asm.DWord),
		asm.LoadMem(asm.R5, regCtx, skbProtocol, asm.Word), asm.HostTo(asm.BE, asm.R5, asm.Half),
		store(atProtocol, asm.R5, asm.DWord),
		asm.StoreImm(regScratch, atNet, int64(net), asm.Word))
	if at, ok := p.l.places[pktType()]; ok {
		p.add(asm.LoadMem(asm.R1, regCtx, skbPktType, asm.Word), store(at.at, asm.R1, asm.DWord))
	}
	links := p.l.of(space.Link)
	if len(links) == 0 {
		return
	}
	if p.l.opts.Bare {
		p.add(asm.Or.Imm(regAbsent, int32(p.l.from(class{base: space.Link}))))
		return
	}
	done, tagged := p.label(), p.label()
	p.beyond(ethLen, toLeave) // cannot be
	p.add(asm.LoadMem(asm.R1, regCtx, skbVLANPresent, asm.Word))
	p.jump(asm.JNE.Imm(asm.R1, 0, ""), tagged)
	p.link(asm.R2, 0, 0)
	p.goTo(done)
	p.bind(tagged)
	p.untagged()
	p.link(regScratch, atLink, tagLen)
	p.bind(done)
}

// linear leaves in R2 and R3 where the packet begins and ends, or as much of it as is looked at.
func (p prologue) linear() {
	linear, all := p.label(), p.label()
	want := p.l.want()
	p.frame()
	p.beyond(want, all)
	p.goTo(linear)
	p.bind(all)
	p.add(asm.LoadMem(asm.R4, regCtx, skbLen, asm.Word),
		asm.Mov.Reg(asm.R1, asm.R3), asm.Sub.Reg(asm.R1, asm.R2))
	p.jump(asm.JGE.Reg(asm.R1, asm.R4, ""), linear)
	short := p.label()
	p.add(asm.Mov.Reg(asm.R2, asm.R4))
	p.jump(asm.JLE.Imm(asm.R4, int32(want), ""), short)
	p.add(asm.Mov.Imm(asm.R2, int32(want)))
	p.bind(short)
	p.add(asm.Mov.Reg(asm.R1, regCtx), asm.FnSkbPullData.Call())
	p.jump(asm.JNE.Imm(asm.R0, 0, ""), toLeave) // no memory
	p.frame()
	p.bind(linear)
}

// want is the bytes that may be looked at.
func (l *layout) want() int {
	net := ethLen + max(l.furthest(space.Network), 40) // of IPv6
	n := max(net, l.furthest(space.Link))
	if l.transport()|l.beyond(nameL4Proto) != 0 {
		n = max(n, maxTransport+max(l.furthest(space.Transport), 8))
	}
	return n
}

// untagged copies the link header to the scratch value and puts the tag in its place, which the kernel has beside it. What
// follows the tag is the protocol, also where the frame has a length (nft_payload_rebuild_vlan_hdr).
func (p prologue) untagged() {
	stop := p.label()
	p.add(asm.LoadMem(asm.R1, asm.R2, 0, asm.DWord), store(atLink, asm.R1, asm.DWord),
		asm.LoadMem(asm.R1, asm.R2, 8, asm.Word), store(atLink+8, asm.R1, asm.Word),
		asm.LoadMem(asm.R1, regCtx, skbVLANProto, asm.Word), store(atLink+ethLen-2, asm.R1, asm.Half),
		asm.LoadMem(asm.R1, regCtx, skbVLANTCI, asm.Word), asm.HostTo(asm.BE, asm.R1, asm.Half),
		store(atLink+ethLen, asm.R1, asm.Half),
		asm.LoadMem(asm.R1, regCtx, skbProtocol, asm.Word), store(atLink+ethLen+2, asm.R1, asm.Half))
	for i := ethLen + tagLen; i < p.l.furthest(space.Link); i++ {
		p.beyond(i-tagLen+1, stop)
		p.add(asm.LoadMem(asm.R1, asm.R2, int16(i-tagLen), asm.Byte), store(atLink+i, asm.R1, asm.Byte))
	}
	p.bind(stop)
}

// link stores the fields of the link header, which is at an offset of a register. Less is of its bytes in the packet.
func (p prologue) link(from asm.Register, offset, less int) {
	p.header(space.Link, from, offset, less)
}

// network stores those of the network header.
func (p prologue) network() {
	p.frame()
	p.add(load(asm.R1, atNet, asm.Word), asm.And.Imm(asm.R1, 31), asm.Add.Reg(asm.R2, asm.R1))
	p.header(space.Network, asm.R2, 0, 0)
}

// header stores the fields of a header as far as the packet, which ends at R3, has them.
func (p prologue) header(base space.Base, from asm.Register, offset, less int) {
	done := p.label()
	classes := p.l.of(base)
	missing := make([]label, len(classes))
	for i, c := range classes {
		missing[i] = p.label()
		p.beyond(c.end-less, missing[i])
		for _, f := range p.l.inClass(c) {
			p.field(f, from, offset)
		}
	}
	p.goTo(done)
	for i, c := range classes {
		p.bind(missing[i])
		p.missing(c, less)
		p.goTo(done)
	}
	p.bind(done)
}

// missing notes that the packet ends before a class of fields does. Some of those that end behind it may begin in
// the packet, with as many bits as the kernel might do with.
func (p prologue) missing(c class, less int) {
	absent := p.l.from(c)
	for _, d := range p.l.of(c.base) {
		bit := p.l.bit(d)
		if absent&bit == 0 || d.short == d.end {
			continue
		}
		absent &^= bit
		none, done := p.label(), p.label()
		p.beyond(d.short-less, none)
		p.add(asm.Or.Imm(regDoubt, int32(bit)))
		p.goTo(done)
		p.bind(none)
		p.add(asm.Or.Imm(regAbsent, int32(bit)))
		p.bind(done)
	}
	if absent != 0 {
		p.add(asm.Or.Imm(regAbsent, int32(absent)))
	}
}

// field stores a field as one number, or as two.
func (p prologue) field(f spot, from asm.Register, offset int) {
	at := p.l.places[f].at
	if f.Len > 64 {
		p.bits(from, offset, f.Off, f.Len-64)
		p.add(store(at, asm.R0, asm.DWord))
		p.bits(from, offset, f.Off+f.Len-64, 64)
		p.add(store(at+8, asm.R0, asm.DWord))
		return
	}
	p.bits(from, offset, f.Off, f.Len)
	p.add(store(at, asm.R0, asm.DWord))
}

// bits loads at most 64 bits into R0, as a number. It uses R1.
func (p prologue) bits(from asm.Register, offset, first, n int) {
	begin, end := first/8, (first+n+7)/8
	below := 8*end - first - n
	if end-begin > 8 { // the last bits are in a ninth byte
		p.bytes(from, offset+begin, 8)
		p.add(asm.LSh.Imm(asm.R0, int32(8-below)),
			asm.LoadMem(asm.R1, from, int16(offset+end-1), asm.Byte), asm.RSh.Imm(asm.R1, int32(below)),
			asm.Or.Reg(asm.R0, asm.R1))
	} else {
		p.bytes(from, offset+begin, end-begin)
		if below > 0 {
			p.add(asm.RSh.Imm(asm.R0, int32(below)))
		}
	}
	if first%8 == 0 || n == 64 {
		return
	}
	p.add(asm.LSh.Imm(asm.R0, int32(64-n)), asm.RSh.Imm(asm.R0, int32(64-n)))
}

// bytes loads bytes in network order into R0, as few loads as do.
func (p prologue) bytes(from asm.Register, offset, n int) {
	into := asm.R0
	for _, size := range []asm.Size{asm.DWord, asm.Word, asm.Half, asm.Byte} {
		w := size.Sizeof()
		if n < w {
			continue
		}
		p.add(asm.LoadMem(into, from, int16(offset), size))
		if w > 1 {
			p.add(asm.HostTo(asm.BE, into, size))
		}
		if into == asm.R1 {
			p.add(asm.LSh.Imm(asm.R0, int32(8*w)), asm.Or.Reg(asm.R0, asm.R1))
		}
		into = asm.R1
		offset += w
		n -= w
	}
}
