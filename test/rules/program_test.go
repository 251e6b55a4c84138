package rules_test

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/nft-offload/nft-offload/internal/packet"
)

// Verdicts of programs.
const (
	xdpDrop, xdpPass, xdpRedirect = 1, 2, 4
	tcShot, tcRedirect            = 2, 7
	tcUnspec                      = 0xffffffff
	// lostInTag is what the stand for tc programs returns where the kernel loses the frame (skb_vlan_untag).
	lostInTag = 0x10571a6
)

// contextLen is the size of struct __sk_buff, and deviceAt is where ifindex is in it (include/uapi/linux/bpf.h).
const (
	contextLen = 192
	deviceAt   = 40
)

// stand runs a program on frames with BPF_PROG_TEST_RUN, as it would run at its hook.
type stand struct {
	tc      bool
	run     *ebpf.Program
	call    *ebpf.Map // program array of the tc stand
	context []byte
	out     []byte
}

// newStand makes a stand for programs of XDP, or of tc on a device.
func newStand(tc bool, ifindex uint32) (*stand, error) {
	s := &stand{tc: tc, out: make([]byte, 1<<12)}
	if !tc {
		return s, nil
	}
	s.context = make([]byte, contextLen)
	binary.NativeEndian.PutUint32(s.context[deviceAt:], ifindex)
	var err error
	if s.call, err = ebpf.NewMap(&ebpf.MapSpec{Name: "stand", Type: ebpf.ProgramArray, KeySize: 4, ValueSize: 4, MaxEntries: 1}); err != nil {
		return nil, fmt.Errorf("make stand: %w", err)
	}
	s.run, err = ebpf.NewProgram(&ebpf.ProgramSpec{Name: "stand", Type: ebpf.SchedCLS, License: "GPL", Instructions: untag(s.call)})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("load stand: %w", err), s.call.Close())
	}
	return s, nil
}

// untag is a program that puts the outer VLAN tag where it is at tc ingress, beside the bytes, and calls another one.
// BPF_PROG_TEST_RUN leaves it in the bytes.
func untag(call *ebpf.Map) asm.Instructions {
	const protocol, tci = 16, -8
	return asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.LoadMem(asm.R7, asm.R6, protocol, asm.Word),
		asm.JEq.Imm(asm.R7, 0x0081, "tagged"),
		asm.JNE.Imm(asm.R7, 0xa888, "call"),
		asm.Mov.Reg(asm.R8, asm.RFP).WithSymbol("tagged"),
		asm.Add.Imm(asm.R8, tci),
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.Mov.Imm(asm.R2, 14),
		asm.Mov.Reg(asm.R3, asm.R8),
		asm.Mov.Imm(asm.R4, 2),
		asm.FnSkbLoadBytes.Call(),
		asm.JNE.Imm(asm.R0, 0, "lost"),
		asm.LoadMem(asm.R3, asm.RFP, tci, asm.Half),
		asm.HostTo(asm.BE, asm.R3, asm.Half),
		asm.JEq.Imm(asm.R3, coverTCI, "pop"),
		// skb_vlan_untag wants the tag, and two bytes behind it.
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.Mov.Imm(asm.R2, 14),
		asm.Mov.Reg(asm.R3, asm.R8),
		asm.Mov.Imm(asm.R4, 6),
		asm.FnSkbLoadBytes.Call(),
		asm.JNE.Imm(asm.R0, 0, "lost"),
		asm.Mov.Reg(asm.R1, asm.R6).WithSymbol("pop"),
		asm.FnSkbVlanPop.Call(),
		asm.JNE.Imm(asm.R0, 0, "lost"),
		asm.LoadMem(asm.R3, asm.RFP, tci, asm.Half),
		asm.HostTo(asm.BE, asm.R3, asm.Half),
		asm.JEq.Imm(asm.R3, coverTCI, "call"),
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.Mov.Reg(asm.R2, asm.R7),
		asm.FnSkbVlanPush.Call(),
		asm.JNE.Imm(asm.R0, 0, "lost"),
		asm.Mov.Reg(asm.R1, asm.R6).WithSymbol("call"),
		asm.LoadMapPtr(asm.R2, call.FD()),
		asm.Mov.Imm(asm.R3, 0),
		asm.FnTailCall.Call(),
		asm.Mov.Imm(asm.R0, lostInTag).WithSymbol("lost"),
		asm.Return(),
	}
}

// coverTCI is in a tag that covers frames from BPF_PROG_TEST_RUN, which refuses short IP packets. No frame has it.
const coverTCI = 0xdead

// covered is the frame as it is handed to BPF_PROG_TEST_RUN.
func (s *stand) covered(frame []byte) []byte {
	if !s.tc {
		return frame
	}
	switch typ := binary.BigEndian.Uint16(frame[12:]); {
	case typ == packet.EtherTypeIPv4 && len(frame) < packet.EthernetLen+packet.IPv4Len,
		typ == packet.EtherTypeIPv6 && len(frame) < packet.EthernetLen+packet.IPv6Len:
		head := append([]byte(nil), frame[:12]...)
		head = binary.BigEndian.AppendUint16(head, packet.EtherTypeQinQ)
		head = binary.BigEndian.AppendUint16(head, coverTCI)
		return append(head, frame[12:]...)
	}
	return frame
}

// use puts a program on the stand.
func (s *stand) use(p *ebpf.Program) error {
	if !s.tc {
		s.run = p
		return nil
	}
	if err := s.call.Put(uint32(0), uint32(p.FD())); err != nil {
		return fmt.Errorf("put program on stand: %w", err)
	}
	return nil
}

// try runs the program on a frame and returns its verdict and the frame behind it. At tc the frame comes back without
// its outer tag. The caller is in the namespace of the device.
func (s *stand) try(frame []byte) (uint32, []byte, error) {
	o := &ebpf.RunOptions{Data: s.covered(frame), DataOut: s.out[:cap(s.out)], Repeat: 1}
	if s.tc {
		o.Context = s.context
	}
	verdict, err := s.run.Run(o)
	if err != nil {
		return 0, nil, fmt.Errorf("run program on %x: %w", frame, err)
	}
	return verdict, o.DataOut, nil
}

// fateOf is what a verdict means for a frame.
func (s *stand) fateOf(verdict uint32) (fate, error) {
	if s.tc {
		switch verdict {
		case tcShot:
			return drops, nil
		case tcRedirect:
			return forwards, nil
		case tcUnspec:
			return passes, nil
		}
		return passes, fmt.Errorf("verdict %#x at tc", verdict)
	}
	switch verdict {
	case xdpDrop:
		return drops, nil
	case xdpRedirect:
		return forwards, nil
	case xdpPass:
		return passes, nil
	}
	return passes, fmt.Errorf("verdict %#x at XDP", verdict)
}

// behind is the frame as the program should leave it.
func (s *stand) behind(frame []byte) []byte {
	if !s.tc || !isTagged(frame) {
		return frame
	}
	return append(append([]byte(nil), frame[:12]...), frame[16:]...)
}

func (s *stand) close() error {
	if !s.tc {
		return nil
	}
	return errors.Join(s.run.Close(), s.call.Close())
}
