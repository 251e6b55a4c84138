package main

import (
	"errors"
	"time"

	"github.com/nft-offload/nft-offload/internal/datapath"
	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/packet"
)

func (f *fastPath) Flush(filter engine.Filter) (engine.Flushed, error) {
	n, err := f.d.Flush(func(arrives, leaves packet.Tuple) bool { return filter.MatchTuples(arrives, leaves) })
	return engine.Flushed(n), err
}

func (f *fastPath) Hold(h engine.Hold) error {
	err := f.d.Hold(datapath.Hold{
		Src: h.Src, Dst: h.Dst, Port: h.Port, Proto: protoNumber(h.Proto), Left: time.Duration(h.Left),
	})
	if errors.Is(err, datapath.ErrHoldsFull) {
		return engine.ErrHoldsFull
	}
	return err
}

func (f *fastPath) Holds() ([]engine.Hold, error) {
	holds, err := f.d.Holds()
	out := make([]engine.Hold, 0, len(holds))
	for _, h := range holds {
		out = append(out, engineHold(h))
	}
	return out, err
}

func (f *fastPath) Release(match func(engine.Hold) bool) (int, error) {
	return f.d.Release(func(h datapath.Hold) bool { return match(engineHold(h)) })
}

func (f *fastPath) Refused() ([]engine.Refused, error) {
	all, err := f.d.Refused()
	out := make([]engine.Refused, 0, len(all))
	for _, r := range all {
		out = append(out, engineRefused(r))
	}
	return out, err
}

func engineRefused(r datapath.Refused) engine.Refused {
	info := r.Reason.Info()
	return engine.Refused{
		Proto: packet.ProtoName(r.Tuple.Proto), Src: r.Tuple.Src, Dst: r.Tuple.Dst, InIndex: r.In, OutIndex: r.Out,
		Code: info.Code, Text: info.Text, Advice: info.Advice(), Samples: r.Samples, Ago: engine.Seconds(r.Ago),
		Passing: !r.Lasting(),
	}
}

func engineHold(h datapath.Hold) engine.Hold {
	f := engine.Filter{Src: h.Src, Dst: h.Dst, Port: h.Port}
	if h.Proto != 0 {
		f.Proto = packet.ProtoName(h.Proto)
	}
	return engine.Hold{Filter: f, Left: engine.Seconds(h.Left)}
}

// protoNumber is the opposite of packet.ProtoName for what a filter may say.
func protoNumber(name string) uint8 {
	for _, p := range []uint8{packet.TCP, packet.UDP} {
		if packet.ProtoName(p) == name {
			return p
		}
	}
	return 0
}
