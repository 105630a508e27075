//go:build !amd64

package collect

// archCallNames adds nothing: the others have the generic calls only.
func archCallNames(names map[int]string) map[int]string { return names }
