package datapath

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
)

// Front is a program that looks at a device's packets before ours does, and runs in its place: what goes on to ours goes
// there by a tail call. Package rules makes them of chains. Devices may share one if ours is the same on all of them.
type Front struct {
	Hook    Hook          // where: XDP, or tc ingress
	Program *ebpf.Program // what is attached
	Next    *ebpf.Map     // the program array through which it goes on
	Slot    uint32        // where in it ours is put
}

// at reports whether the front is for a place.
func (f *Front) at(place string) bool {
	return f != nil && place == f.place()
}

func (f *Front) place() string {
	if f.Hook == HookXDP {
		return placeXDP
	}
	return placeIngress
}

// placed is what has to be attached in a place; nil for nothing. Whatever stands behind a front is in its program array
// afterwards, before anything is attached, so that no packet comes between.
func (d *Datapath) placed(dev Device, place string, places map[string]variant) (*ebpf.Program, error) {
	var ours *ebpf.Program
	if v, on := places[place]; on {
		var err error
		if ours, err = d.program(v); err != nil {
			return nil, err
		}
	}
	if !dev.Front.at(place) {
		return ours, nil
	}
	if err := dev.Front.goOn(ours); err != nil {
		return nil, err
	}
	return dev.Front.Program, nil
}

// goOn says what stands behind the front: nil for the kernel.
func (f *Front) goOn(ours *ebpf.Program) error {
	if f.Next == nil {
		return nil
	}
	if ours == nil {
		if err := f.Next.Delete(f.Slot); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("end the program before ours: %w", err)
		}
		return nil
	}
	if err := f.Next.Put(f.Slot, uint32(ours.FD())); err != nil {
		return fmt.Errorf("put our program behind the one of the rules: %w", err)
	}
	return nil
}
