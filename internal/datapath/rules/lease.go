package rules

import (
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

// beatSpec is a program that writes into the word what jiffies64 will be after as many ticks as its argument says.
func beatSpec(word *ebpf.Map) *ebpf.ProgramSpec {
	return &ebpf.ProgramSpec{
		Name: "nfo_beat", Type: ebpf.Syscall, Flags: unix.BPF_F_SLEEPABLE, License: "Dual BSD/GPL",
		Instructions: asm.Instructions{
			asm.Mov.Reg(asm.R6, asm.R1),
			asm.FnJiffies64.Call(),
			asm.LoadMem(asm.R1, asm.R6, 0, asm.DWord),
			asm.Add.Reg(asm.R0, asm.R1),
			asm.LoadMapValue(asm.R2, word.FD(), 0),
			asm.StoreMem(asm.R2, 0, asm.R0, asm.DWord),
			asm.Mov.Imm(asm.R0, 0),
			asm.Return(),
		},
	}
}

// renew lets programs execute rules for so long from now on.
func (l *lease) renew(d time.Duration) error {
	ticks := uint64(math.Ceil(float64(d) / float64(l.tick)))
	if _, err := l.beat.Run(&ebpf.RunOptions{Context: ticks}); err != nil {
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
