// Package caps holds what a kernel, a driver and a device can do: a Machine, which `doctor` reads from the running
// system and `plan --caps` from a file; the Profiles of drivers, for machines that are not at hand and for what no
// kernel interface tells (which flower keys a driver takes); and the Quirks, kernel bugs by version.
//
// The package is pure: it asks no kernel. It says what is possible, not what to do with it (package plan does).
package caps
