package manifest

import (
	"bytes"
	"strconv"
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
	LivenessProbe   probe `yaml:"livenessProbe"`
	ReadinessProbe  probe `yaml:"readinessProbe"`
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
	}{
		{"usual", "acceptwatch", "acceptwatch:v1.2.3", usual(Kubernetes), 9716,
			[]string{"serve", "--listen=:9716", "--labels=listener,port,netns,container,pod"},
			[]string{"BPF", "PERFMON", "SYS_PTRACE", "DAC_READ_SEARCH", "SYS_ADMIN"}, nil},
		{"chosen", "on", "registry.example:5000/a/b@sha256:00", chosen(Kubernetes), 80,
			[]string{"serve", "--listen=[::]:80", "--labels=port,unit,process",
				"--port", "8000-8010", "--comm", "my server", "--web.config.file=100%.yml"},
			[]string{"BPF", "PERFMON"}, new(bool)},
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
			if one.Image != c.image || port.ContainerPort != c.port || pod.Metadata.Annotations["prometheus.io/port"] != strconv.Itoa(c.port) {
				t.Errorf("image %q, port %+v, annotations %v", one.Image, port, pod.Metadata.Annotations)
			}
			if one.LivenessProbe.HTTPGet.Path != "/-/healthy" || one.ReadinessProbe.HTTPGet.Path != "/-/ready" ||
				one.LivenessProbe.HTTPGet.Port != port.Name || one.ReadinessProbe.HTTPGet.Port != port.Name {
				t.Errorf("probes %+v, %+v", one.LivenessProbe, one.ReadinessProbe)
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
