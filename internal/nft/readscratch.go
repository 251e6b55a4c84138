package nft

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// readText reads a ruleset in nft's language: nft loads it in a scratch namespace and lists it.
func readText(ctx context.Context, src Source) (*ruleset.Ruleset, error) {
	r, err := stripText(src)
	if err != nil {
		return nil, fmt.Errorf("read ruleset: %w", err)
	}
	var rs *ruleset.Ruleset
	switch err = ready(); {
	case errors.Is(err, ErrPermission), errors.Is(err, ErrNotInstalled) && os.Geteuid() != 0: // not on a user's PATH
		rs, err = r.readAsUser(ctx, src)
	case err == nil:
		rs, err = r.readAsRoot(ctx, src)
	}
	if _, said := errors.AsType[*Error](err); err != nil && !said { // nft's own words say what was going on
		err = fmt.Errorf("read ruleset: %w", err)
	}
	if err != nil {
		return nil, err
	}
	r.raise(rs)
	return rs, nil
}

// readAsRoot loads the ruleset in a scratch namespace and reads it there.
func (r *reader) readAsRoot(ctx context.Context, src Source) (rs *ruleset.Ruleset, err error) {
	err = inScratch(func() error {
		if err := fakeDevices(unnumbered(slices.Sorted(maps.Keys(r.devices)))); err != nil {
			return err
		}
		if err := (program{text: r.out.b.String(), where: r.where}).run(ctx, src, "read"); err != nil {
			return err
		}
		rs, err = readLive(ctx)
		return err
	})
	return rs, err
}

// readAsUser does without root what readAsRoot does with it, but for the comparison with what the kernel has.
func (r *reader) readAsUser(ctx context.Context, src Source) (*ruleset.Ruleset, error) {
	l, err := r.loadAsUser(ctx, src)
	if err != nil {
		return nil, err
	}
	return l.ruleset()
}

// fakeIndex is where the indexes of stand-ins begin: a rule with a small number in place of a name must not mean one.
const fakeIndex = 1 << 20

// standIn is a device that stands for another.
type standIn struct {
	name  string
	index int
}

// unnumbered are stand-ins for devices that are not there, with numbers of their own.
func unnumbered(names []string) []standIn {
	var out []standIn
	for i, name := range names {
		out = append(out, standIn{name, fakeIndex + i})
	}
	return out
}

// numbered are stand-ins for devices that are there, with their numbers.
func numbered(devices []net.Interface) []standIn {
	var out []standIn
	for _, d := range devices {
		if d.Flags&net.FlagLoopback == 0 {
			out = append(out, standIn{d.Name, d.Index})
		}
	}
	return out
}

// fakeDevices makes devices, of the first kind that the kernel has. A number that is taken (new namespaces have devices of
// tunnels, net.core.fb_tunnels_only_for_init_net) becomes another one: rules that have it differ then. Dummies come last:
// their module makes a device in the first namespace, too.
func fakeDevices(list []standIn) error {
	kind := 0
	for i, d := range list {
		attrs := netlink.LinkAttrs{Name: d.name, Index: d.index}
		for {
			links := []netlink.Link{
				&netlink.Bridge{LinkAttrs: attrs},
				&netlink.Veth{LinkAttrs: attrs, PeerName: fmt.Sprintf("nfo-peer%d", i)}, &netlink.Dummy{LinkAttrs: attrs},
			}
			err := netlink.LinkAdd(links[kind])
			if errors.Is(err, unix.EEXIST) && attrs.Index != 0 {
				attrs.Index = 0
				continue
			}
			if err == nil || errors.Is(err, unix.EEXIST) {
				break
			}
			if !errors.Is(err, unix.EOPNOTSUPP) || kind == len(links)-1 {
				return fmt.Errorf("make stand-in for device %s: %w", d.name, err)
			}
			kind++
		}
	}
	return nil
}

// userScript runs in namespaces of its own, as root in there. Its arguments are the names of devices, its input the
// ruleset. Device names are of letters, digits and ._-@+ only.
const userScript = `command -v nft >/dev/null || exit 7
nft list tables >/dev/null || exit 3
for d; do
	ip link add name "$d" type bridge 2>&3 || ip link add name "$d" type veth 2>&3 || ip link add name "$d" type dummy 2>&3 || exit 3
done 3>/dev/null
nft -I . -f - || exit 4
nft -t list ruleset || exit 5
printf '\001'
nft -j list ruleset || exit 5
`

// loadAsUser loads and lists the ruleset in a user namespace, in which nft is root.
func (r *reader) loadAsUser(ctx context.Context, src Source) (rawListing, error) {
	args := append([]string{"-c", userScript, "sh"}, slices.Sorted(maps.Keys(r.devices))...)
	cmd := exec.CommandContext(ctx, "sh", args...)
	var out, errs bytes.Buffer
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = src.Dir, strings.NewReader(r.out.b.String()), &out, &errs
	cmd.Env = append(os.Environ(), "LC_ALL=C", "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	runtime.LockOSThread() // see run
	defer runtime.UnlockOSThread()
	err := cmd.Run()
	exit, exited := errors.AsType[*exec.ExitError](err)
	switch {
	case err != nil && !exited:
		return rawListing{}, &NoNamespaceError{err}
	case exited && exit.ExitCode() == 3:
		return rawListing{}, &NoNamespaceError{errors.New("namespaces of users have no rights here")}
	case exited && exit.ExitCode() == 7:
		return rawListing{}, ErrNotInstalled
	case exited && exit.ExitCode() == 5:
		return rawListing{}, ErrJSON
	case exited:
		refused := &Error{Op: "read", Text: strings.TrimSpace(errs.String())}
		refused.relocate(r.where)
		if refused.File == "" {
			refused.File = src.Name
		}
		return rawListing{}, refused
	}
	text, doc, _ := bytes.Cut(out.Bytes(), []byte{1})
	return rawListing{json: doc, heads: parseHeads(string(text))}, nil
}
