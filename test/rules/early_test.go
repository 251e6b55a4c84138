package rules_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/nft-offload/nft-offload/internal/bpfgen"
	"github.com/nft-offload/nft-offload/internal/datapath/rules"
	"github.com/nft-offload/nft-offload/internal/plan/share"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// early is the program of a device, loaded.
type early struct {
	d        *device
	hook     share.Hook
	share    *share.Share
	decides  map[place]bool // rules and policies that end packets early, says the plan
	made     *bpfgen.Program
	loaded   *rules.Loaded
	programs *rules.Programs
	stand    *stand
	places   map[rules.Rule]place
	scratch  *ebpf.Map // of the program, opened when it is asked for
}

// errLost is a frame that does not come to the program on its stand.
var errLost = errors.New("lost in its tag")

// errNothing says that no rule of the device runs early.
var errNothing = errors.New("no rule runs early")

// load plans a ruleset, compiles what runs early on a device and loads it.
func (p *proof) load(rs *ruleset.Ruleset, d *device, hook share.Hook) (*early, error) {
	e := &early{d: d, hook: hook, programs: p.programs, stand: p.stands[standKey{d.Name, hook}], places: map[rules.Rule]place{}}
	var err error
	if e.share, e.decides, err = p.lab.shareOf(rs, d, hook); err != nil {
		return nil, err
	}
	if e.share == nil || len(e.share.Entries) == 0 {
		return nil, errNothing
	}
	if e.made, err = bpfgen.Compile(*e.share, bpfgen.Options{Ifindex: p.lab.ifindexes()}); err != nil {
		return nil, fmt.Errorf("compile: %w", err)
	}
	p.generation++
	var legend []rules.Rule
	for _, ref := range e.made.Counters {
		r := rules.Rule{Family: string(ref.Family), Table: ref.Table, TableHandle: p.generation, Chain: ref.Chain, Handle: ref.Handle}
		legend = append(legend, r)
		e.places[r] = place{ref.Family, ref.Table, ref.Chain, ref.Number}
	}
	e.loaded, err = p.programs.Load(rules.Device{Name: d.Name, Hook: hook, Share: e.share, Legend: legend, Made: e.made})
	if err != nil {
		return nil, err
	}
	if err := p.fillSets(e); err != nil {
		return nil, errors.Join(err, e.loaded.End())
	}
	if err := e.stand.use(e.loaded.Entry); err != nil {
		return nil, errors.Join(err, e.loaded.End())
	}
	return e, nil
}

// counts are what the program has kept of its rules' counters.
func (e *early) counts() (sums, error) {
	all, err := e.programs.Counters()
	if err != nil {
		return nil, err
	}
	s := sums{}
	for r, c := range all {
		if at, ok := e.places[r]; ok && c.Packets > 0 {
			had := s[at]
			s[at] = count{had.packets + c.Packets, had.bytes + c.Bytes}
		}
	}
	return s, nil
}

// judged is what is found wrong with a program.
type judged struct {
	wrong []string
	frame []byte // of the first thing wrong, nil for counters
}

func (j *judged) add(frame []byte, format string, args ...any) {
	if j.frame == nil {
		j.frame = frame
	}
	j.wrong = append(j.wrong, fmt.Sprintf(format, args...))
}

// judge runs the program on frames and compares with what package eval says. The caller is in the lab's namespace.
func (p *proof) judge(e *early, o *oracle, frames [][]byte) (judged, error) {
	var j judged
	start, err := e.counts()
	if err != nil {
		return j, err
	}
	want := sums{}
	for i, f := range frames {
		if i%64 == 0 {
			if err := p.programs.Renew(); err != nil {
				return j, err
			}
		}
		x, err := o.run(f)
		if err != nil {
			return j, err
		}
		got, err := p.one(e, x, f, &j)
		if err != nil {
			return j, err
		}
		for range got {
			want.add(x)
		}
	}
	end, err := e.counts()
	if err != nil {
		return j, err
	}
	for at, c := range start {
		end[at] = count{end[at].packets - c.packets, end[at].bytes - c.bytes}
	}
	for _, d := range compare("program", end, want) {
		j.add(nil, "%s", d)
	}
	p.evaluations[e.hook] += len(frames)
	return j, nil
}

// one runs the program on one frame and returns how often that ended the packet.
func (p *proof) one(e *early, x expected, f []byte, j *judged) (int, error) {
	got, err := e.run(f, j)
	if errors.Is(err, errLost) {
		return 0, nil // as in the kernel, or a second tag that the stand cannot put in its place: live frames have them
	}
	if err != nil {
		return 0, err
	}
	counts := p.tallies[e.hook].of(classOf(f))
	if x.fate != passes {
		p.ended[e.hook]++
		if got != passes {
			p.endedEarly[e.hook]++
		}
	}
	must := x.fate != passes && !x.lost && e.decides[x.by]
	switch {
	case got != passes && (x.lost || got != x.fate):
		j.add(f, "the program %s, nftables %s by %s", got, x.fate, x.by)
		return 0, nil
	case got != passes:
		if must {
			counts.all++
			counts.early++
		}
		return 1, nil
	case !must:
		return 0, nil
	}
	// Once more, to see why it was not ended early.
	before, err := e.left()
	if err != nil {
		return 0, err
	}
	if err := p.programs.Renew(); err != nil {
		return 0, err
	}
	if got, err = e.run(f, j); err != nil {
		return 0, err
	}
	counts.all++
	if got != passes {
		counts.early++
		return 1, nil // the lease had run out
	}
	after, err := e.left()
	if err != nil {
		return 0, err
	}
	counts.left++
	switch c := classOf(f); {
	case after == before:
		j.add(f, "a frame (%s) comes to the end, which %s %s early", c, x.by, x.fate)
	case c.leastEarly() == 100:
		j.add(f, "a frame (%s) is left to the kernel, which %s %s early", c, x.by, x.fate)
	}
	return 0, nil
}

// run runs the program on a frame, which must stay as it is.
func (e *early) run(f []byte, j *judged) (fate, error) {
	verdict, out, err := e.stand.try(f)
	if err != nil {
		return passes, err
	}
	if e.stand.tc && verdict == lostInTag {
		return passes, errLost
	}
	got, err := e.stand.fateOf(verdict)
	if err != nil {
		j.add(f, "%v", err)
		return passes, nil
	}
	if !bytes.Equal(out, e.stand.behind(f)) {
		j.add(f, "the program changes the frame to %x", out)
	}
	return got, nil
}

// left is how many packets the program has left because it could not tell.
func (e *early) left() (uint64, error) {
	if e.scratch == nil {
		m, err := mapOf(e.loaded.Entry, "nfo_"+bpfgen.ScratchMap)
		if err != nil {
			return 0, err
		}
		e.scratch = m
	}
	var perCPU []totals
	if err := e.scratch.Lookup(uint32(0), &perCPU); err != nil {
		return 0, fmt.Errorf("read totals: %w", err)
	}
	n := uint64(0)
	for _, t := range perCPU {
		n += t.Left
	}
	return n, nil
}

// totals are the first bytes of the value of the scratch map.
type totals bpfgen.Totals

// UnmarshalBinary implements encoding.BinaryUnmarshaler.
func (t *totals) UnmarshalBinary(b []byte) error {
	_, err := binary.Decode(b, binary.NativeEndian, t)
	return err
}

// mapOf finds a map of a program by name.
func mapOf(p *ebpf.Program, name string) (*ebpf.Map, error) {
	info, err := p.Info()
	if err != nil {
		return nil, fmt.Errorf("ask for the program's maps: %w", err)
	}
	ids, _ := info.MapIDs()
	for _, id := range ids {
		m, err := ebpf.NewMapFromID(id)
		if err != nil {
			return nil, fmt.Errorf("open map %d: %w", id, err)
		}
		if i, err := m.Info(); err == nil && i.Name == name {
			return m, nil
		}
		_ = m.Close()
	}
	return nil, fmt.Errorf("find map %s: there is none", name)
}

// end takes the program away.
func (e *early) end() error {
	var err error
	if e.scratch != nil {
		err = e.scratch.Close()
	}
	return errors.Join(err, e.loaded.End())
}
