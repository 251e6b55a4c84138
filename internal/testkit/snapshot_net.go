package testkit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// sysctlTrees are the directories under /proc/sys that a snapshot covers.
func sysctlTrees() []string {
	return []string{"net/netfilter", "net/ipv4", "net/ipv6/conf", "net/core", "net/bridge"}
}

// volatileSysctls change by themselves.
func volatileSysctls() map[string]bool {
	return map[string]bool{"nf_conntrack_count": true}
}

// namespace adds what one network namespace holds.
func (s State) namespace(n *NS) error {
	return n.Do(func() error {
		links, err := netlink.LinkList()
		if err != nil {
			return fmt.Errorf("list links: %w", err)
		}
		for _, l := range links {
			if err := s.device(n, l); err != nil {
				return fmt.Errorf("read device %s: %w", l.Attrs().Name, err)
			}
		}
		if err := s.features(n); err != nil {
			return fmt.Errorf("read device features: %w", err)
		}
		if err := s.command(n, "qdiscs", "tc", "qdisc", "show"); err != nil {
			return err
		}
		if err := s.command(n, "ruleset", "nft", "--stateless", "list", "ruleset"); err != nil {
			return err
		}
		return s.sysctls(n)
	})
}

func (s State) device(n *NS, l netlink.Link) error {
	a := l.Attrs()
	name := n.Name + " " + a.Name
	xdp := "none"
	if a.Xdp != nil && a.Xdp.Attached {
		xdp = fmt.Sprintf("program %d, mode %d", a.Xdp.ProgId, a.Xdp.AttachMode)
	}
	flags := a.Flags &^ net.FlagRunning // linkwatch sets it up to a second after the link came up
	s.items[name+" link"] = fmt.Sprintf("index %d mtu %d flags %v promisc %d txqlen %d master %d address %s alias %q group %d",
		a.Index, a.MTU, flags, a.Promisc, a.TxQLen, a.MasterIndex, a.HardwareAddr, a.Alias, a.Group)
	s.items[name+" xdp"] = xdp
	for attach, label := range map[ebpf.AttachType]string{ebpf.AttachTCXIngress: "tcx ingress", ebpf.AttachTCXEgress: "tcx egress"} {
		if err := s.tcx(name+" "+label, a.Index, attach); err != nil {
			return err
		}
	}
	for direction, parent := range map[string]uint32{"ingress": netlink.HANDLE_MIN_INGRESS, "egress": netlink.HANDLE_MIN_EGRESS} {
		filters, err := netlink.FilterList(l, parent)
		if err != nil {
			return fmt.Errorf("list filters: %w", err)
		}
		if len(filters) == 0 {
			continue // starting a process for each device that has none is most of what a snapshot takes
		}
		if err := s.command(n, a.Name+" filters "+direction, "tc", "filter", "show", "dev", a.Name, direction); err != nil {
			return err
		}
	}
	return nil
}

// features adds those of all devices of the calling thread's namespace.
func (s State) features(n *NS) error {
	out, err := output("ethtool", "--json", "--show-features", "*")
	if err != nil {
		return err
	}
	var devices []map[string]json.RawMessage
	if err := json.Unmarshal(out, &devices); err != nil {
		return fmt.Errorf("decode ethtool's answer: %w", err)
	}
	for _, d := range devices {
		var name string
		if err := json.Unmarshal(d["ifname"], &name); err != nil {
			return fmt.Errorf("decode ethtool's answer: %w", err)
		}
		delete(d, "ifname")
		var b bytes.Buffer
		for _, feature := range slices.Sorted(maps.Keys(d)) {
			fmt.Fprintf(&b, "%s: ", feature)
			if err := json.Compact(&b, d[feature]); err != nil {
				return fmt.Errorf("decode feature %s of %s: %w", feature, name, err)
			}
			b.WriteByte('\n')
		}
		s.items[n.Name+" "+name+" features"] = b.String()
	}
	return nil
}

func (s State) tcx(key string, ifindex int, attach ebpf.AttachType) error {
	r, err := link.QueryPrograms(link.QueryOptions{Target: ifindex, Attach: attach})
	if errors.Is(err, ebpf.ErrNotSupported) || errors.Is(err, unix.EINVAL) {
		return nil // before Linux 6.6
	}
	if err != nil {
		return fmt.Errorf("query %s: %w", key, err)
	}
	if len(r.Programs) == 0 {
		return nil
	}
	var b strings.Builder
	for _, p := range r.Programs {
		fmt.Fprintf(&b, "program %d\n", p.ID)
	}
	s.items[key] = b.String()
	return nil
}

// command adds a command's output; it runs on the calling thread's namespace. An empty output adds nothing.
func (s State) command(n *NS, what, name string, args ...string) error {
	out, err := output(name, args...)
	if err == nil && len(out) > 0 {
		s.items[n.Name+" "+what] = string(out)
	}
	return err
}

// output runs a command; an error carries its standard error.
func output(name string, args ...string) ([]byte, error) {
	out, err := exec.Command(name, args...).Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
	}
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return out, nil
}

// sysctls adds the readable files of the trees. A device's directory may go away while it is read.
func (s State) sysctls(n *NS) error {
	const root = "/proc/sys"
	volatile := volatileSysctls()
	for _, tree := range sysctlTrees() {
		err := filepath.WalkDir(filepath.Join(root, tree), func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) || d == nil || d.IsDir() || volatile[d.Name()] {
				return nil
			}
			if err != nil {
				return err
			}
			b, err := os.ReadFile(path)
			if err != nil {
				return nil //nolint:nilerr // write-only (route/flush) or unset (stable_secret: EIO): no value to restore
			}
			s.items[n.Name+" sysctl "+strings.TrimPrefix(path, root+"/")] = string(b)
			return nil
		})
		if err != nil {
			return fmt.Errorf("read sysctls %s: %w", tree, err)
		}
	}
	return nil
}
