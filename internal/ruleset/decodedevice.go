package ruleset

import "strings"

// interfaceKey reports whether the values of a meta key are names of devices.
func interfaceKey(key string) bool {
	return key == "iif" || key == "oif" || strings.HasSuffix(key, "ifname") || strings.HasSuffix(key, "brname") ||
		key == "ibriport" || key == "obriport"
}

// devices notes an error where a value has a string that no device can have as its name.
func (b *builder) devices(v value, pairs bool) {
	switch {
	case b.err != nil:
	case v.is(kindString):
		if name := v.str(); !isRef(name) {
			b.err = b.device(name, v)
		}
	case v.is(kindArray):
		for e := range v.elems() {
			if pairs && e.is(kindArray) {
				for key := range e.elems() {
					b.devices(key, false)
					break
				}
				continue
			}
			b.devices(e, pairs)
		}
	case v.is(kindObject):
		switch k, m, _ := v.only(); k {
		case "set", "range":
			b.devices(m, pairs)
		case "elem":
			if val, ok := m.get("val"); ok {
				b.devices(val, false)
			}
		}
	}
}

func (b *builder) device(name string, v value) error {
	switch {
	case name == "":
		return b.fail(v, "an empty device name")
	case control(name):
		return b.fail(v, "a device name with a control character: %s", printable(name))
	case len(name) > maxDevice:
		return b.fail(v, "the device name %s is longer than %d bytes", printable(name), maxDevice)
	}
	return nil
}
