package rules

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// Heartbeat is how long programs go on executing rules after a Renew.
const Heartbeat = 2 * time.Second

// lease is the one word that says until when programs execute rules: a time of the kernel's jiffies64. Zero, or a time that
// has passed, leaves every packet to nftables.
type lease struct {
	word *ebpf.Map     // array of one u64
	beat *ebpf.Program // writes it: user space cannot read the kernel's jiffies
	tick time.Duration
}

// leaseSpec is the map that generated programs read.
func leaseSpec() *ebpf.MapSpec {
	return &ebpf.MapSpec{Name: "nfo_lease", Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1}
}

// openLease adopts the pinned word, or makes one. It is suspended.
func openLease(pin string) (*lease, error) {
	word, err := pinnedMap(pin, leaseSpec())
	if err != nil {
		return nil, err
	}
	l := &lease{word: word}
	if err := l.suspend(); err != nil {
		return nil, errors.Join(err, l.close())
	}
	// The coarse clock moves by a tick (KTIME_LOW_RES, include/linux/ktime.h), which nothing else tells.
	var res unix.Timespec
	if err := unix.ClockGetres(unix.CLOCK_MONOTONIC_COARSE, &res); err != nil {
		return nil, errors.Join(fmt.Errorf("read the length of a tick: %w", err), l.close())
	}
	l.tick = time.Duration(res.Nano())
	if l.beat, err = ebpf.NewProgram(beatSpec(word)); err != nil {
		return nil, errors.Join(fmt.Errorf("load program nfo_beat: %w", err), l.close())
	}
	return l, nil
}

// beatSpec is a program that writes into the word what jiffies64 will be after as many ticks as its packet begins with. It
// is not one of type syscall: the kernel frees these, which may sleep, and their maps only many seconds after their last
// user when it is busy (call_rcu_tasks_trace, kernel/bpf/syscall.c), and a withdraw would seem to leave the word behind.
func beatSpec(word *ebpf.Map) *ebpf.ProgramSpec {
	const data, dataEnd = 0, 4 // struct xdp_md
	return &ebpf.ProgramSpec{
		Name: "nfo_beat", Type: ebpf.XDP, License: "Dual BSD/GPL",
		Instructions: asm.Instructions{
			asm.LoadMem(asm.R2, asm.R1, data, asm.Word),
			asm.LoadMem(asm.R3, asm.R1, dataEnd, asm.Word),
			asm.Mov.Reg(asm.R4, asm.R2),
			asm.Add.Imm(asm.R4, 8),
			asm.JGT.Reg(asm.R4, asm.R3, "out"),
			asm.LoadMem(asm.R6, asm.R2, 0, asm.DWord),
			asm.FnJiffies64.Call(),
			asm.Add.Reg(asm.R0, asm.R6),
			asm.LoadMapValue(asm.R2, word.FD(), 0),
			asm.StoreMem(asm.R2, 0, asm.R0, asm.DWord),
			asm.Mov.Imm(asm.R0, 0).WithSymbol("out"),
			asm.Return(),
		},
	}
}

// renew lets programs execute rules for so long from now on.
func (l *lease) renew(d time.Duration) error {
	const shortest = 14 // bytes of a packet for BPF_PROG_TEST_RUN: an Ethernet header
	packet := make([]byte, shortest)
	binary.NativeEndian.PutUint64(packet, uint64(math.Ceil(float64(d)/float64(l.tick))))
	if _, err := l.beat.Run(&ebpf.RunOptions{Data: packet}); err != nil {
		return fmt.Errorf("renew the lease of rules: %w", err)
	}
	return nil
}

// suspend ends the lease now.
func (l *lease) suspend() error {
	if err := l.word.Put(uint32(0), uint64(0)); err != nil {
		return fmt.Errorf("suspend rules: %w", err)
	}
	return nil
}

func (l *lease) close() error {
	if l.beat != nil {
		return errors.Join(l.beat.Close(), l.word.Close())
	}
	return l.word.Close()
}
