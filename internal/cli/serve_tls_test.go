package cli

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// With a web config, nobody gets anything without TLS, the name and the word.
func TestServeWithTLSAndUsers(t *testing.T) {
	dir := t.TempDir()
	pool := selfSigned(t, dir)
	secret, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "web.yml")
	write(t, config, fmt.Appendf(nil, "tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\nbasic_auth_users:\n  prometheus: %s\n", secret))

	k := &hastyKernel{fakeKernel: incidentKernel()}
	s := serve(t, opens(k), k.fakeKernel, "--web.config.file", config)
	plain := s.url
	for _, path := range []string{"/metrics", "/-/ready"} {
		if status, body := s.get(path); status != http.StatusBadRequest {
			t.Errorf("%s without TLS: %d %s", path, status, body)
		}
	}
	s.client.CloseIdleConnections()
	s.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	s.url = "https" + plain[len("http"):]
	for _, test := range []struct {
		user, word string
		want       int
	}{{"", "", 401}, {"prometheus", "guess", 401}, {"root", "secret", 401}, {"prometheus", "secret", 200}} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/-/healthy", nil)
		if err != nil {
			t.Fatal(err)
		}
		if test.user != "" {
			r.SetBasicAuth(test.user, test.word)
		}
		answer, err := s.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != test.want {
			t.Errorf("%s with %q: %d, want %d", test.user, test.word, answer.StatusCode, test.want)
		}
	}
}

// selfSigned writes a certificate for loopback, and its key.
func selfSigned(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	from := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	certificate, err := x509.CreateCertificate(rand.Reader, from, from, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "cert.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}))
	write(t, filepath.Join(dir, "key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}))
	parsed, err := x509.ParseCertificate(certificate)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return pool
}

func write(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}
