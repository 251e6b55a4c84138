package datapath

import (
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"
)

// slots recycles adjacencies. The observer takes free ones from a queue; here the ones that no entry has named for
// a while go back: first out of the index, so that no new entry can name them, and after another while, when still
// nothing names them, zeroed and into the queue.
type slots struct {
	unused  map[uint32]time.Time // in the index, named by no entry, since
	retired map[uint32]time.Time // out of the index, since
}

const slotRest = 5 * time.Second // far longer than any program runs

// fill makes every slot of a new datapath free; 0 is never used.
func (s *slots) fill(queue *ebpf.Map) error {
	s.unused, s.retired = map[uint32]time.Time{}, map[uint32]time.Time{}
	if _, err := drain(queue); err != nil { // an earlier start may have been killed half way
		return err
	}
	for id := uint32(1); id < adjacencies; id++ {
		if err := queue.Update(nil, id, ebpf.UpdateAny); err != nil {
			return fmt.Errorf("fill free adjacencies: %w", err)
		}
	}
	return nil
}

// adopt finds the slots that were on their way to the queue when the last daemon died: in neither place.
// They rest once more, since a program may have taken one a moment ago.
func (s *slots) adopt(d *Datapath) error {
	s.unused, s.retired = map[uint32]time.Time{}, map[uint32]time.Time{}
	free, err := drain(d.maps.AdjFree)
	if err != nil {
		return err
	}
	named, err := d.namedSlots()
	if err != nil {
		return err
	}
	for id := uint32(1); id < adjacencies; id++ {
		switch {
		case free[id]:
			if err := d.maps.AdjFree.Update(nil, id, ebpf.UpdateAny); err != nil {
				return fmt.Errorf("fill free adjacencies: %w", err)
			}
		case !named[id]:
			s.retired[id] = time.Now()
		}
	}
	return nil
}

// drain empties the queue.
func drain(queue *ebpf.Map) (map[uint32]bool, error) {
	free := map[uint32]bool{}
	for {
		var id uint32
		err := queue.LookupAndDelete(nil, &id)
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return free, nil
		}
		if err != nil {
			return nil, fmt.Errorf("drain free adjacencies: %w", err)
		}
		free[id] = true
	}
}

// namedSlots are those in the index, and those that entries still name.
func (d *Datapath) namedSlots() (map[uint32]bool, error) {
	named := map[uint32]bool{}
	var key nfoAdjKey
	var id uint32
	it := d.maps.AdjIds.Iterate()
	for it.Next(&key, &id) {
		named[id] = true
	}
	if err := it.Err(); err != nil {
		return nil, fmt.Errorf("list adjacencies: %w", err)
	}
	err := d.each(func(e *entry) { named[e.hot.Adj] = true })
	return named, err
}

// sweepSlots is one step of the recycling; named are the slots that entries name now.
func (d *Datapath) sweepSlots(now time.Time, named map[uint32]bool) error {
	stale := map[uint32]nfoAdjKey{}
	var key nfoAdjKey
	var id uint32
	it := d.maps.AdjIds.Iterate()
	for it.Next(&key, &id) {
		since, ok := d.slots.unused[id]
		switch {
		case named[id]:
			delete(d.slots.unused, id)
		case !ok:
			d.slots.unused[id] = now
		case now.Sub(since) > slotRest:
			stale[id] = key
		}
	}
	if err := it.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return fmt.Errorf("list adjacencies: %w", err)
	}
	for id, k := range stale {
		if err := d.maps.AdjIds.Delete(&k); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("retire adjacency: %w", err)
		}
		delete(d.slots.unused, id)
		d.slots.retired[id] = now
	}
	for id, since := range d.slots.retired {
		if named[id] {
			d.slots.retired[id] = now
			continue
		}
		if now.Sub(since) <= slotRest {
			continue
		}
		if err := d.maps.Adjs.Put(id, &nfoAdj{}); err != nil {
			return fmt.Errorf("clear adjacency: %w", err)
		}
		if err := d.maps.AdjFree.Update(nil, id, ebpf.UpdateAny); err != nil {
			return fmt.Errorf("free adjacency: %w", err)
		}
		delete(d.slots.retired, id)
	}
	return nil
}
