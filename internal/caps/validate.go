package caps

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// nameSize is IFNAMSIZ: names of devices are shorter.
const nameSize = 16

// Validate refuses a machine that cannot be: devices without a name or with one that Linux does not allow, two of one
// name, profiles that are not shipped, a device that stands on itself.
func (m Machine) Validate() error {
	seen := map[string]bool{}
	for i, d := range m.Devices {
		if err := d.validate(); err != nil {
			return fmt.Errorf("devices[%d]: %w", i, err)
		}
		if seen[d.Name] {
			return fmt.Errorf("devices[%d]: another device is named %q", i, d.Name)
		}
		seen[d.Name] = true
	}
	below := map[string][]string{}
	for _, d := range m.Devices {
		below[d.Name] = d.Lower
	}
	for _, d := range m.Devices {
		if circular(below, d.Name) {
			return fmt.Errorf("device %q stands on itself", d.Name)
		}
	}
	return nil
}

func (d Device) validate() error {
	if err := validName(d.Name); err != nil {
		return err
	}
	for _, other := range slices.Concat(d.Lower, d.Uppers) {
		if err := validName(other); err != nil {
			return fmt.Errorf("%s: %w", d.Name, err)
		}
	}
	if d.Profile != "" {
		if _, ok := Lookup(d.Profile); !ok {
			return fmt.Errorf("%s: there is no profile %q", d.Name, d.Profile)
		}
	}
	return nil
}

// validName is what Linux asks of the name of a device (dev_valid_name).
func validName(s string) error {
	switch {
	case s == "":
		return errors.New("a device has no name")
	case len(s) >= nameSize:
		return fmt.Errorf("device name %q has more than %d bytes", s, nameSize-1)
	case s == ".", s == "..", strings.ContainsAny(s, "/:"), strings.ContainsFunc(s, notInName):
		return fmt.Errorf("%q is no name of a device", s)
	}
	return nil
}

func notInName(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }

// circular reports whether a device is somewhere below itself.
func circular(below map[string][]string, name string) bool {
	seen := map[string]bool{}
	for queue := below[name]; len(queue) > 0; queue = queue[1:] {
		next := queue[0]
		if next == name {
			return true
		}
		if !seen[next] {
			seen[next] = true
			queue = slices.Concat(queue, below[next])
		}
	}
	return false
}
