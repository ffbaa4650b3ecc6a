import { readFileSync } from 'node:fs';

/** What the catalog expects to be in the cluster: the server's code for the Job, and a Service with two pods. */
export function toManifests(namespace: string, image: string) {
  const labels = { app: 'where' };
  const source = readFileSync(new URL('./server.mjs', import.meta.url), 'utf8');
  return [
    { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } },
    { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'where', namespace }, data: { 'server.mjs': source } },
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'where', namespace },
      spec: { selector: labels, ports: [{ port: 80, targetPort: 8080 }] },
    },
    {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: 'where', namespace },
      spec: {
        replicas: 2,
        selector: { matchLabels: labels },
        template: {
          metadata: { labels },
          spec: {
            automountServiceAccountToken: false,
            containers: [
              {
                name: 'server',
                image,
                imagePullPolicy: 'IfNotPresent',
                command: ['node', '/app/server.mjs'],
                env: [{ name: 'PORT', value: '8080' }],
                readinessProbe: { httpGet: { path: '/ready', port: 8080 }, periodSeconds: 1 },
                volumeMounts: [{ name: 'app', mountPath: '/app' }],
              },
            ],
            volumes: [{ name: 'app', configMap: { name: 'where' } }],
          },
        },
      },
    },
  ];
}
