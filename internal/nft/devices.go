package nft

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
)

// devices tells the names in flowtables apart. The zero value takes all as they are.
type devices struct {
	names  []string // of all devices
	exists func(name string) bool
	// matching returns the devices that a pattern stands for, where nobody else knows patterns.
	matching func(pattern string) []string
}

// devicesHere are those of this thread's network namespace.
func devicesHere() (devices, error) {
	list, err := net.Interfaces()
	if err != nil {
		return devices{}, fmt.Errorf("list devices: %w", err)
	}
	var names []string
	for _, d := range list {
		names = append(names, d.Name)
	}
	return devices{names: names, exists: func(name string) bool { return slices.Contains(names, name) }}, nil
}

// forSet are devices as a set of names lists them: with patterns.
func (d devices) forSet() devices {
	return devices{exists: func(name string) bool { return pattern(name) || d.exists(name) }}
}

// forKernel are devices as the kernel's flowtable lists them: from Linux 6.16 on with patterns, if nft knows them, too;
// before, what matches now stands for a pattern.
func (d devices) forKernel(ctx context.Context) devices {
	takes := sync.OnceValue(func() bool { return takesPatterns(ctx) })
	return devices{
		exists: func(name string) bool { return pattern(name) && takes() || d.exists(name) },
		matching: func(p string) []string {
			if takes() {
				return []string{p}
			}
			return slices.DeleteFunc(slices.Clone(d.names), func(name string) bool {
				return !strings.HasPrefix(name, strings.TrimSuffix(p, "*"))
			})
		},
	}
}

// takesPatterns asks nft and the kernel whether a flowtable may list a pattern.
func takesPatterns(ctx context.Context) bool {
	const text = `table inet nft_offload_probe { flowtable f { hook ingress priority 0; devices = { "nftoffloadprobe*" }; }; }` + "\n"
	_, err := run(ctx, "probe", "", text, "-c", "-f", "-")
	return err == nil
}

// list puts a name of the text where it belongs.
func (f *Flowtable) list(name string, d devices) {
	switch {
	case pattern(name) && d.matching != nil:
		names := d.matching(name)
		if len(names) == 0 {
			f.Missing = appendNew(f.Missing, name)
		} else if names[0] != name {
			f.Patterns = appendNew(f.Patterns, name)
		}
		for _, n := range names {
			f.Devices = appendNew(f.Devices, n)
		}
	case d.exists != nil && !d.exists(name):
		f.Missing = appendNew(f.Missing, name)
	default:
		f.Devices = appendNew(f.Devices, name)
	}
}

func appendNew(names []string, name string) []string {
	if slices.Contains(names, name) {
		return names
	}
	return append(names, name)
}
