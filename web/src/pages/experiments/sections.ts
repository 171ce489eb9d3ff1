// How the form of an experiment is divided.

export const SECTIONS = [
  { title: 'Hypothesis', about: 'What stays true while something is broken, and the probes that tell.', fields: ['hypothesis'] },
  { title: 'Load', about: 'Requests that Squall itself makes while the experiment runs.', fields: ['traffic'] },
  {
    title: 'Method',
    about: 'What is done, one step after another. Everything is put back at the end of its time box.',
    fields: ['method'],
  },
  { title: 'Guards', about: 'Conditions that stop the run and put everything back at once.', fields: ['guards'] },
  {
    title: 'Comparison',
    about: 'A question to each target of a step and to its control group (`control` of the target): who is worse off, and what then.',
    fields: ['compare'],
  },
  { title: 'Steady state and recovery', fields: ['steady', 'recovery', 'observe', 'timeout'], always: ['steady', 'recovery'] },
  { title: 'After it', about: 'What is done besides undoing each fault.', fields: ['rollback'] },
];

/** What a new experiment begins as. */
export const BEGINNING = `apiVersion: squall.dev/v1
kind: Experiment
metadata:
  name: my-experiment
spec:
  hypothesis:
    statement: Users get their answers while the service is paused.
    probes:
      - name: answers
        http: { url: "http://127.0.0.1:8080/health" }
        expect: { eq: 200 }
  steady: { for: 10s, every: 1s }
  method:
    - fault: process.pause
      target: { process: { name: payments } }
      for: 10s
  recovery: { within: 1m, stable: 3s }
`;
