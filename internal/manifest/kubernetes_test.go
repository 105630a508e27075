package manifest

import (
	"bytes"
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// daemonSet is what matters of one, and no field of another name.
type daemonSet struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string
	Metadata   struct {
		Name, Namespace string
		Labels          map[string]string
	}
	Spec struct {
		Selector struct {
			MatchLabels map[string]string `yaml:"matchLabels"`
		}
		Template struct {
			Metadata struct{ Labels, Annotations map[string]string }
			Spec     struct {
				HostPID                       bool              `yaml:"hostPID"`
				HostNetwork                   bool              `yaml:"hostNetwork"`
				AutomountServiceAccountToken  *bool             `yaml:"automountServiceAccountToken"`
				EnableServiceLinks            *bool             `yaml:"enableServiceLinks"`
				NodeSelector                  map[string]string `yaml:"nodeSelector"`
				Tolerations                   []struct{ Operator string }
				TerminationGracePeriodSeconds int `yaml:"terminationGracePeriodSeconds"`
				Containers                    []container
				Volumes                       []struct {
					Name   string
					Secret struct {
						SecretName string `yaml:"secretName"`
					}
				}
			}
		}
	}
}

type container struct {
	Name, Image string
	Args        []string
	Ports       []struct {
		Name          string
		ContainerPort int `yaml:"containerPort"`
	}
	LivenessProbe  *probe `yaml:"livenessProbe"`
	ReadinessProbe *probe `yaml:"readinessProbe"`
	VolumeMounts   []struct {
		Name      string
		MountPath string `yaml:"mountPath"`
		ReadOnly  bool   `yaml:"readOnly"`
	} `yaml:"volumeMounts"`
	Resources       struct{ Requests, Limits map[string]string }
	SecurityContext struct {
		RunAsUser                *int  `yaml:"runAsUser"`
		ReadOnlyRootFilesystem   bool  `yaml:"readOnlyRootFilesystem"`
		AllowPrivilegeEscalation *bool `yaml:"allowPrivilegeEscalation"`
		Capabilities             struct{ Drop, Add []string }
		SeccompProfile           struct{ Type string } `yaml:"seccompProfile"`
		AppArmorProfile          struct{ Type string } `yaml:"appArmorProfile"`
	} `yaml:"securityContext"`
}

type probe struct {
	HTTPGet struct{ Path, Port string } `yaml:"httpGet"`

	InitialDelaySeconds int `yaml:"initialDelaySeconds"`
	TimeoutSeconds      int `yaml:"timeoutSeconds"`
}

func TestDaemonSet(t *testing.T) {
	for _, c := range []struct {
		name, namespace, image string
		options                Options
		port                   int
		args, capabilities     []string
		escalation             *bool
		web                    string // where the files for TLS and users are; empty: there are none
	}{
		{"usual", "acceptwatch", "acceptwatch:v1.2.3", usual(Kubernetes), 9716,
			[]string{"serve", "--listen=:9716", "--labels=listener,port,netns,container,pod"},
			[]string{"BPF", "PERFMON", "SYS_PTRACE", "DAC_READ_SEARCH", "SYS_ADMIN"}, nil, ""},
		{"chosen", "on", "registry.example:5000/a/b@sha256:00", chosen(Kubernetes), 8080,
			[]string{"serve", "--listen=[::]:8080", "--labels=port,unit,process",
				"--port", "8000-8010", "--comm", "my server", "--web.config.file=/etc/web/100%.yml"},
			[]string{"BPF", "PERFMON"}, new(bool), "/etc/web"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := yaml.NewDecoder(bytes.NewReader(printed(t, Kubernetes, c.options)))
			d.KnownFields(true)
			var space, set daemonSet
			for _, one := range []*daemonSet{&space, &set} {
				if err := d.Decode(one); err != nil {
					t.Fatal(err)
				}
			}
			if space.Kind != "Namespace" || space.Metadata.Name != c.namespace || set.Metadata.Namespace != c.namespace {
				t.Errorf("namespace %+v, used %q; want %s", space.Metadata, set.Metadata.Namespace, c.namespace)
			}
			pod := set.Spec.Template
			if diff := cmp.Diff(set.Spec.Selector.MatchLabels, pod.Metadata.Labels); diff != "" || len(pod.Metadata.Labels) == 0 {
				t.Errorf("the selector does not select the pods:\n%s", diff)
			}
			if !pod.Spec.HostPID || pod.Spec.HostNetwork || len(pod.Spec.Containers) != 1 {
				t.Errorf("pod %+v", pod.Spec)
			}
			one := pod.Spec.Containers[0]
			if diff := cmp.Diff(c.args, one.Args); diff != "" {
				t.Errorf("arguments (-want +got):\n%s", diff)
			}
			port := one.Ports[0]
			if one.Image != c.image || port.ContainerPort != c.port || len(pod.Metadata.Annotations) > 0 {
				t.Errorf("image %q, port %+v, annotations %v", one.Image, port, pod.Metadata.Annotations)
			}
			if live, ready := one.LivenessProbe, one.ReadinessProbe; c.web != "" {
				if live != nil || ready != nil {
					t.Errorf("probes %+v, %+v, which get no answer", live, ready)
				}
				if len(one.VolumeMounts) != 1 || one.VolumeMounts[0].MountPath != c.web || len(pod.Spec.Volumes) != 1 ||
					pod.Spec.Volumes[0].Name != one.VolumeMounts[0].Name || pod.Spec.Volumes[0].Secret.SecretName == "" {
					t.Errorf("%s is not mounted: %+v, %+v", c.web, one.VolumeMounts, pod.Spec.Volumes)
				}
			} else if live.HTTPGet.Path != "/-/healthy" || ready.HTTPGet.Path != "/-/ready" ||
				live.HTTPGet.Port != port.Name || ready.HTTPGet.Port != port.Name || len(one.VolumeMounts)+len(pod.Spec.Volumes) > 0 {
				t.Errorf("probes %+v, %+v, volumes %+v", live, ready, pod.Spec.Volumes)
			}
			s := one.SecurityContext
			if !s.ReadOnlyRootFilesystem || cmp.Diff(s.Capabilities.Drop, []string{"ALL"}) != "" ||
				cmp.Diff(c.escalation, s.AllowPrivilegeEscalation) != "" || one.Resources.Limits["memory"] == "" {
				t.Errorf("security %+v, resources %+v", s, one.Resources)
			}
			if diff := cmp.Diff(c.capabilities, s.Capabilities.Add); diff != "" {
				t.Errorf("capabilities (-want +got):\n%s", diff)
			}
		})
	}
}

// scrapeJob is the configuration of Prometheus in the comments of a manifest.
func scrapeJob(t *testing.T, manifest []byte) []byte {
	t.Helper()
	_, text, found := strings.Cut(string(manifest), "#   scrape_configs:\n")
	text, _, ended := strings.Cut(text, "#\n")
	if !found || !ended {
		t.Fatal("it does not say how Prometheus scrapes it")
	}
	config := "scrape_configs:\n"
	for line := range strings.Lines(text) {
		config += strings.TrimPrefix(line, "#   ")
	}
	return []byte(config)
}

// Usual jobs give a target the labels pod and container, which would be those of
// acceptwatch's own.
func TestScrapeJobLeavesTheLabelsOfListenersAlone(t *testing.T) {
	for _, o := range []Options{usual(Kubernetes), chosen(Kubernetes)} {
		var config struct {
			ScrapeConfigs []struct {
				JobName     string `yaml:"job_name"`
				HonorLabels bool   `yaml:"honor_labels"`
				Discovery   []struct {
					Role       string
					Namespaces struct{ Names []string }
				} `yaml:"kubernetes_sd_configs"`
				Relabel []struct {
					Source []string `yaml:"source_labels"`
					Regex  string
					Action string
					Target string `yaml:"target_label"`
				} `yaml:"relabel_configs"`
			} `yaml:"scrape_configs"`
		}
		manifest := printed(t, Kubernetes, o)
		if err := yaml.Unmarshal(scrapeJob(t, manifest), &config); err != nil {
			t.Fatal(err)
		}
		job := config.ScrapeConfigs[0]
		if job.JobName != "acceptwatch" || !job.HonorLabels || job.Discovery[0].Role != "pod" ||
			cmp.Diff([]string{o.Namespace}, job.Discovery[0].Namespaces.Names) != "" {
			t.Errorf("job %+v", job)
		}
		for _, r := range job.Relabel {
			if r.Target != "" && r.Target != "instance" {
				t.Errorf("the target has a label %s", r.Target)
			}
			if r.Action != "keep" {
				continue
			}
			name, port, _ := strings.Cut(r.Regex, ";")
			d := yaml.NewDecoder(bytes.NewReader(manifest))
			var space, set daemonSet
			if err := errors.Join(d.Decode(&space), d.Decode(&set)); err != nil {
				t.Fatal(err)
			}
			pod := set.Spec.Template
			if pod.Metadata.Labels["app.kubernetes.io/name"] != name || pod.Spec.Containers[0].Ports[0].Name != port {
				t.Errorf("%s keeps none of the pods", r.Regex)
			}
		}
	}
}

// Debian's promtool knows nothing of Kubernetes, and sees the rest of it there.
func TestScrapeJobByPromtool(t *testing.T) {
	promtool := need(t, "promtool", "ACCEPTWATCH_NEED_PROMETHEUS")
	for _, o := range []Options{usual(Kubernetes), chosen(Kubernetes)} {
		config := scrapeJob(t, printed(t, Kubernetes, o))
		said, err := exec.Command(promtool, "check", "config", written(t, "prometheus.yml", config)).CombinedOutput()
		if strings.Contains(string(said), "field kubernetes_sd_configs not found") {
			var file struct {
				ScrapeConfigs []map[string]any `yaml:"scrape_configs"`
			}
			if err := yaml.Unmarshal(config, &file); err != nil {
				t.Fatal(err)
			}
			delete(file.ScrapeConfigs[0], "kubernetes_sd_configs")
			if config, err = yaml.Marshal(map[string]any{"scrape_configs": file.ScrapeConfigs}); err != nil {
				t.Fatal(err)
			}
			run(t, promtool, "check", "config", written(t, "rest.yml", config))
		} else if err != nil {
			t.Errorf("%v: %s", err, said)
		}
	}
}
