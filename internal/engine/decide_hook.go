package engine

import (
	"cmp"
	"fmt"

	"github.com/nft-offload/nft-offload/internal/reason"
)

// place chooses the hook of a spot.
func (s *spot) place(failed Reason) {
	l := s.link
	xdp := cmp.Or(failed, l.XDP, tcOnly(l))
	switch {
	case s.ruled:
		s.hook, s.reason = TC, Reason{reason.TCOnly, fmt.Sprintf("the rules of %s are executed at tc", l.Name), ""}
	case s.choice == XDP && !xdp.OK():
		s.hook, s.reason = Off, xdp
	case s.choice == XDP:
		s.hook = XDP
	case s.choice == TC:
		s.hook = TC
	case l.Kind == "veth":
		s.hook, s.reason = TC, Reason{reason.TCByDefault, fmt.Sprintf("%s is a veth device, where XDP costs TCP its segmentation offload", l.Name), fmt.Sprintf("--device %s=xdp for small packets", l.Name)}
	case !xdp.OK():
		s.hook, s.reason = TC, xdp
	default:
		s.hook = XDP
	}
}

// target says whether XDP redirects may leave by the device, and why not. Which port of a bond a frame takes is
// decided for each packet sent to it, and not every driver below takes redirected ones.
func (s *spot) target() (bool, Reason) {
	r := s.link.XDPTarget
	if s.link.Kind == "bond" || s.link.Kind == "team" {
		r = cmp.Or(r, tcOnly(s.link))
	}
	return r.OK(), r
}
